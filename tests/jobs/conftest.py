"""Jobs as a person starts them: as processes, and, where a process of its own is not the promise,
as their files run in this one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).parents[2]
# What engines say to nobody's use: worker prefixes, tracebacks of helpers, advice, how a database
# is made.
NOISE = re.compile(
    r"\(\w+ pid=|Traceback|PlacementGroupCleaner|Add type hints|Warning:|INFO mlflow"
    r"|INFO  \[alembic|exporter agent|\x1b\["
)


@dataclass(frozen=True)
class Ended:
    """How a job ended. `log` are the lines of our own log, which a process shows on stderr."""

    status: int
    out: str
    err: str
    log: tuple[str, ...] = ()

    @property
    def result(self) -> dict[str, Any]:
        """The result of a job that succeeded: the last line of stdout."""
        assert self.status == 0, self.err
        value: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return value

    @property
    def noise(self) -> list[str]:
        """Lines on stderr that no person needs."""
        return [line for line in self.err.splitlines() if NOISE.search(line)]

    @property
    def refusal(self) -> str:
        """The one line of a job that was refused: nothing else was said anywhere."""
        assert (self.status, self.out) == (2, ""), self
        assert self.err.startswith("error: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert self.log == ()
        return self.err.removeprefix("error: ").rstrip("\n")


Run = Callable[..., Ended]


def process(name: str, *arguments: object, **environment: str) -> Ended:
    """Run a job as a process of its own."""
    done = subprocess.run(
        [sys.executable, f"jobs/{name}.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=HOUSE,
        env={**os.environ, **environment},
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def refused(capsys: pytest.CaptureFixture[str], run: Callable[[], object]) -> str:
    """The one line with which a job refuses; nothing is on stdout, and the status is 2."""
    with pytest.raises(SystemExit) as ended:
        run()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (2, "")
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1, shown.err
    return shown.err.rstrip("\n").removeprefix("error: ")


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Run:
    """Run a job's file in this process. It reads its command line and ends as it would otherwise;
    what is saved is a Python and its imports, which take seconds.
    """

    def run(name: str, *arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", [f"jobs/{name}.py", *map(str, arguments)])
        status = 0
        capsys.readouterr()
        caplog.clear()
        try:
            runpy.run_path(str(HOUSE / "jobs" / f"{name}.py"), run_name="__main__")
        except SystemExit as ended:
            status = int(ended.code or 0)
        shown = capsys.readouterr()
        ours = [record for record in caplog.records if record.name == "unreasonable"]
        return Ended(status, shown.out, shown.err, tuple(record.getMessage() for record in ours))

    return run


@pytest.fixture
def on_local_ray(monkeypatch: pytest.MonkeyPatch, local_ray: None) -> None:
    """Jobs find the Ray of the tests instead of starting one, which takes 5-10 s."""
    monkeypatch.setattr("cluster.connect.ray_session", lambda **options: contextlib.nullcontext())


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that starts Ray fails."""

    def start(**options: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("cluster.connect.ray_session", start)
