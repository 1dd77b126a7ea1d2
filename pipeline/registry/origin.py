"""Where a run or a model comes from: whose it is, and which code of which commit made it."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path

_HOUSE = Path(__file__).parent.parent.parent
_GIT_TIMEOUT_S = 10.0


def origin_tags() -> dict[str, str]:
    """MLflow's own tags for a run's user, source and commit; what nobody knows is left out.

    MLflow sets them itself only for runs that are started through its fluent interface.
    """
    tags = {
        "mlflow.user": user(),
        "mlflow.source.name": source(),
        "mlflow.source.type": "JOB" if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else "LOCAL",
        "mlflow.source.git.commit": git_commit(),
    }
    return {key: value for key, value in tags.items() if value}


def user() -> str:
    """Who runs this; "" where nobody knows, as in a container whose user has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def source() -> str:
    """The command that was started: below the project's folder by its place there."""
    command = Path(sys.argv[0])
    # `unreasonable train` is what the dispatcher leaves there: a command and no path.
    if not command.name or " " in command.name:
        return command.name
    command = command.absolute()
    return str(command.relative_to(_HOUSE) if command.is_relative_to(_HOUSE) else command)


def git_commit() -> str:
    """The commit of the code that is running: $UNREASONABLE_GIT_COMMIT, else what git says; ""
    where nobody knows.
    """
    given = os.environ.get("UNREASONABLE_GIT_COMMIT")
    if given:
        return given
    command = ["git", "-C", str(_HOUSE), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
