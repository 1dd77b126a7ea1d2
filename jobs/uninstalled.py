"""What a job says when the Python that runs it does not have the package: one line, no traceback.

It imports nothing of the house. `python jobs/x.py` finds it because it lies beside the job.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def refuse(missing: ModuleNotFoundError) -> NoReturn:
    """End with status 2, the one of bad input, and with what to do."""
    print(
        f"error: {sys.executable} has no module {missing.name}: use .venv/bin/python, which "
        "`make setup` makes, or `pip install .` in the project's folder.",
        file=sys.stderr,
        flush=True,
    )
    raise SystemExit(2)
