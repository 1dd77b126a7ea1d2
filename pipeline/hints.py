"""What to type next, as it works from any folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

COMMAND = "unreasonable"


def command(name: str) -> str:
    """The beginning of a command line that runs one of our commands, such as `unreasonable train`.

    The program is named with its folder where the shell would not find it, as in a virtual
    environment that is not active.
    """
    if shutil.which(COMMAND):
        return f"{COMMAND} {name}"
    beside = Path(sys.executable).parent / COMMAND
    # A checkout on sys.path alone, as a submitted job's, has the files and no program.
    return f"{beside if beside.exists() else COMMAND} {name}"
