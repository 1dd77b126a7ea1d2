"""Which version this is: the package's, and the git commit if it is known."""

from __future__ import annotations

import json
import subprocess
from importlib import metadata
from pathlib import Path


def version() -> str:
    """As `0.1.0 (git 1a2b3c4d5e6f)`."""
    try:
        distribution = metadata.distribution("unreasonable")
    except metadata.PackageNotFoundError:
        return _with_commit("not installed", _checked_out())
    return _with_commit(distribution.version, _checked_out() or _installed_from(distribution))


def _with_commit(number: str, commit: str) -> str:
    return f"{number} (git {commit[:12]})" if commit else number


def _checked_out() -> str:
    """The commit of the folder that this file lies in, if it is a checkout of its own."""
    folder = Path(__file__).parent.parent
    # Without this, an installed package would give the commit of whatever lies around it.
    if not (folder / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _installed_from(distribution: metadata.Distribution) -> str:
    """The commit that pip was given, as in `pip install git+https://...`."""
    text = distribution.read_text("direct_url.json")
    vcs = json.loads(text).get("vcs_info", {}) if text else {}
    return str(vcs.get("commit_id", ""))
