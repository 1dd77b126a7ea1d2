"""A job under a Python without the package says in one line what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.uninstalled import refuse
from tests.jobs.conftest import HOUSE

STARTED = [
    "build_corpus",
    "train",
    "sample",
    "evaluate",
    "explain",
    "reproduce",
    "models",
    "schedule",
]


@pytest.mark.parametrize("name", STARTED)
def test_a_python_without_the_package_is_told_what_to_do(name: str, tmp_path: Path) -> None:
    # -S leaves out what is installed, -E what the environment would put on the path.
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(HOUSE / "jobs" / f"{name}.py"), "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {sys.executable} has no module jobs: use .venv/bin/python, which `make setup` "
        "makes, or `pip install .` in the project's folder.\n"
    )


def test_the_missing_module_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        refuse(ModuleNotFoundError(name="yaml"))
    assert ended.value.code == 2
    assert " has no module yaml: " in capsys.readouterr().err
