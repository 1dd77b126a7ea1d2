"""Attempts as jobs: real processes, a real ledger, a cluster that only notes what it is asked."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs, storage
from pipeline.errors import InputError
from pipeline.scheduling import perform as module
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.perform import ClusterJobs, perform, training_run_id
from pipeline.scheduling.records import Attempt, Outcome
from pipeline.scheduling.scheduler import JobState
from tests.scheduling.pretend import attempt


class Project:
    """A folder with a job in it, a ledger with an attempt to run it, and what was recorded."""

    def __init__(self, folder: Path, script: str, *arguments: str) -> None:
        (folder / "project").mkdir()
        (folder / "project" / "job.py").write_text(script)
        self.folder = folder / "project"
        self.ledger = Ledger(str(folder / "root"))
        self.attempt = attempt(number=7, command=("job.py", *arguments))
        self.ledger.append(self.attempt)
        self.recorded: list[tuple[Attempt, Outcome]] = []

    def record(self, attempt: Attempt, outcome: Outcome) -> None:
        assert self.ledger.entry("c", 7).status == "running"  # the ledger is told last
        self.recorded.append((attempt, outcome))

    def perform(self) -> dict[str, Any]:
        return perform(self.ledger, "c/7", self.folder, self.record)


GOOD = """
import json, os, sys
print("on the way", file=sys.stderr)
print("not this line")
result = {"version": "v1", "built": True, "model": "models:/m/1", "champion": False,
          "val_bits_per_byte": 1.5, "run_id": "r", "url": "u", "seconds": 3, "secret": "x"}
assert sys.argv[1:] == ["--root", "/r"], sys.argv
print(json.dumps(result | {"model": os.path.basename(os.getcwd())}))
"""


def test_an_attempt_is_run_and_recorded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path, GOOD, "--root", "/r")
    done = project.perform()
    ended = project.ledger.entry("c", 7).ended
    assert ended is not None
    assert ended.status == "succeeded"
    kept = {
        "version": "v1",
        "built": True,
        "model": "project",  # it ran in the project's folder
        "champion": False,
        "val_bits_per_byte": 1.5,
        "run_id": "r",
        "url": "u",
        "seconds": 3,
    }
    assert ended.outcome.result == kept
    assert (ended.outcome.exit_status, ended.outcome.error) == (0, "")
    assert project.recorded == [(project.attempt, ended.outcome)]
    seconds = ended.outcome.seconds
    assert seconds is not None
    assert 0.0 <= seconds < 100
    assert seconds == round(seconds, 1)
    assert done == {
        "attempt": "nightly-20260501T120100Z-build-0-c-7",
        "error": "",
        "exit_status": 0,
        "seconds": seconds,
        "result": kept,
    }
    # The job's log is passed on, its output is not: ours ends with our own JSON line.
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "on the way\n")


def test_a_failure_keeps_the_last_line_of_the_log(tmp_path: Path) -> None:
    script = """
import sys
print('{"run_id": "r"}')
print("first\\nerror: no such folder", file=sys.stderr)
print("   \\n", file=sys.stderr)
sys.exit(2)
"""
    project = Project(tmp_path, script)
    done = project.perform()
    ended = project.ledger.entry("c", 7).ended
    assert ended is not None
    assert ended.status == "failed"
    assert ended.outcome.error == "error: no such folder"
    assert ended.outcome.result == {"run_id": "r"}
    assert done["exit_status"] == ended.outcome.exit_status == 2
    assert "status" not in done


def test_a_long_line_keeps_its_end(tmp_path: Path) -> None:
    project = Project(tmp_path, "import sys; sys.exit('a' * 600 + 'b' * 499)")
    assert project.perform()["error"] == "a" + "b" * 499


def test_a_job_that_was_killed_is_a_failure(tmp_path: Path) -> None:
    project = Project(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    done = project.perform()
    assert (done["exit_status"], done["error"], done["result"]) == (-9, "", {})
    assert project.ledger.entry("c", 7).status == "failed"


def test_a_job_that_talks_much_is_not_blocked(tmp_path: Path) -> None:
    script = """
import sys
print("x" * 1_000_000)
print("y" * 1_000_000, file=sys.stderr)
print('{"version": "v2"}')
"""
    assert Project(tmp_path, script).perform()["result"] == {"version": "v2"}


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    script = """
import sys
sys.stdout.buffer.write(b'\\xff\\n{"version": "v3"}\\n')
sys.stderr.buffer.write(b'\\xff\\n')
sys.exit(1)
"""
    done = Project(tmp_path, script).perform()
    assert (done["result"], done["error"]) == ({"version": "v3"}, "\ufffd")


@pytest.mark.parametrize("last", ["", "print()", "print('done')", "print('[1]')", "print(1)"])
def test_a_job_without_a_result_has_none(tmp_path: Path, last: str) -> None:
    assert Project(tmp_path, last).perform()["result"] == {}


def test_an_attempt_is_run_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "unreasonable")
    project = Project(tmp_path, "open('runs', 'a').write('x')")
    project.perform()
    job_id = project.attempt.job_id
    assert project.perform() == {"attempt": job_id, "status": "started before"}
    assert (project.folder / "runs").read_text() == "x"
    assert len(project.recorded) == 1
    assert caplog.messages == [f"{job_id} has been started before; nothing to do"]


def test_what_is_recorded_is_what_the_ledger_holds(tmp_path: Path) -> None:
    project = Project(tmp_path, "print('{}')")
    project.perform()
    ((_, outcome),) = project.recorded
    path = tmp_path / "root" / "schedules" / "c" / "000007.ended.json"
    told = json.loads(path.read_text())
    assert sorted(outcome.to_json()) == ["error", "exit_status", "result", "seconds"]
    assert sorted(told) == ["by", "error", "exit_status", "result", "seconds", "status", "time"]


@pytest.mark.parametrize(
    "which", ["c", "c/", "/7", "c/seven", "c/-7", "c/7/8", "c/²", "", "c/" + "7" * 400]
)
def test_an_attempt_that_is_not_written_as_one_is_refused(tmp_path: Path, which: str) -> None:
    project = Project(tmp_path, "")
    with pytest.raises(InputError, match=r"it must be CORPUS/NUMBER, such as notes/17\.$"):
        perform(project.ledger, which, project.folder, project.record)
    assert project.recorded == []


def test_an_attempt_that_is_not_there_is_refused(tmp_path: Path) -> None:
    project = Project(tmp_path, "")
    for which in ("c/8", "other/7"):
        with pytest.raises(InputError, match=f"^no attempt {which} under "):
            perform(project.ledger, which, project.folder, project.record)


# ---- as the scheduler submits it


class Notes:
    """A cluster that notes what it is asked to start."""

    def __init__(self, **ended: bool) -> None:
        self.started: list[tuple[str, str]] = []
        self.ended = ended

    def start(self, job_id: str, entrypoint: str) -> None:
        self.started.append((job_id, entrypoint))

    def has_ended(self, job_id: str) -> bool | None:
        return self.ended.get(job_id)

    def output(self, job_id: str) -> str:
        return f"log of {job_id}"


def test_an_attempt_is_submitted_as_a_job_that_performs_it() -> None:
    notes = Notes()
    ClusterJobs(notes, "s3://b/my root").submit(attempt(corpus="linux", number=17))
    assert notes.started == [
        (
            "nightly-20260501T120100Z-build-0-linux-17",
            "python jobs/schedule.py --root 's3://b/my root' --perform linux/17",
        )
    ]


def test_the_state_of_a_job() -> None:
    jobs = ClusterJobs(Notes(over=True, running=False), "/r")
    assert jobs.state("over") is JobState.OVER
    assert jobs.state("running") is JobState.UNDER_WAY
    assert jobs.state("nobody's") is JobState.UNKNOWN
    assert jobs.output("running") == "log of running"


def test_seconds_are_those_that_the_job_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([100.0, 103.26])
    project = Project(tmp_path, "")

    class Time:
        monotonic = staticmethod(lambda: next(times))

    monkeypatch.setattr(module, "time", Time)
    assert project.perform()["seconds"] == 3.3


def test_a_training_that_is_tried_again_goes_on_with_its_own_run(tmp_path: Path) -> None:
    script = "import json, os, sys; print(json.dumps({'run_id': os.environ['UNREASONABLE_RUN_ID'], "
    script += "'url': ' '.join(sys.argv[1:])}))"
    project = Project(tmp_path, script)
    root = str(tmp_path / "root")
    own = dataclasses.replace(
        project.attempt, stage="train", command=("job.py", "--root", root), number=8
    )

    def tried(attempt: Attempt) -> dict[str, Any]:
        project.ledger.append(attempt)
        which = f"c/{attempt.number}"
        result: dict[str, Any] = perform(
            project.ledger, which, project.folder, lambda *given: None
        )["result"]
        return result

    first = tried(own)
    run_id = training_run_id(own)
    assert first == {"run_id": run_id, "url": f"--root {root}"}
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", run_id)  # as every run's
    run = runs.run_url(root, run_id)
    storage.write_bytes(storage.join(run, runs.START), b"{}")
    again = tried(dataclasses.replace(own, number=9, tried=1))
    assert again == {"run_id": run_id, "url": f"--root {root} --resume {run_id}"}
    # A finished one is not gone on with.
    storage.write_bytes(storage.join(run, runs.END), b"{}")
    assert tried(dataclasses.replace(own, number=10, tried=2))["url"] == f"--root {root}"
    # Another firing is another run.
    assert training_run_id(dataclasses.replace(own, instant="20260502T120100Z")) != run_id
