"""jobs/schedule.py on a real cluster.

What fires is built and learned once, failures show, and nothing private is written down.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import mlflow
import pytest

import jobs.schedule
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.records import Outcome
from tests.scheduling.pretend import attempt

HOUSE = Path(__file__).parent.parent.parent
PLANTED = "planted-6f1d2c"
RECIPE = """
corpus: {{name: mine, source: {source}, val: 0.2, test: 0.0}}
train:
  {{num_layers: 1, hidden_size: 16, global_batch_size: 8, seq_len: 32,
    max_steps: 10, eval_every: 10, num_workers: 1}}
"""


@pytest.fixture
def home(head: dict[str, str], tmp_path: Path, texts: Path) -> dict[str, str]:
    """A client's environment with a root of its own, schedules, and secrets that belong nowhere."""
    (tmp_path / "mine.yaml").write_text(RECIPE.format(source=texts))
    secrets = {
        "AWS_SECRET_ACCESS_KEY": PLANTED,
        "MLFLOW_TRACKING_PASSWORD": PLANTED,
        "HF_TOKEN": PLANTED,
    }
    return {**head, **secrets, "UNREASONABLE_ROOT": str(tmp_path / "root")}


def schedules(folder: Path, *entries: str) -> str:
    path = folder / "schedule.yaml"
    lines = [
        f"  - {{name: {entry.split('|')[0]}, recipe: {folder}/mine.yaml, {entry.split('|')[1]}}}"
        for entry in entries
    ]
    path.write_text("\n".join(["schedules:", *lines]))
    return str(path)


def schedule(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/schedule.py", *arguments]
    return subprocess.run(
        command,
        cwd=HOUSE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout.strip(), done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_firing_builds_once_and_nothing_private_is_written(
    home: dict[str, str], tmp_path: Path
) -> None:
    plan = schedules(tmp_path, "nightly|cron: '0 3 * * *', build: {num_workers: 1}")
    done = schedule(home, "--schedule", plan, "--run_now", "nightly")
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = result(done)["schedules"]
    assert (row["stage"], row["status"], row["result"]["built"]) == ("build", "succeeded", True)
    root = tmp_path / "root"
    ledger = sorted(path.name for path in (root / "schedules" / "mine").iterdir())
    assert ledger == [f"00000{n}{kind}.json" for n in (1,) for kind in (".ended", "", ".started")]
    client = mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("schedules").experiment_id])
    assert [run.data.tags["stage"] for run in found] == ["build"]
    # An overview needs no cluster.
    shown = schedule({**home, "RAY_ADDRESS": ""}, "--schedule", plan, "--list")
    assert result(shown)["schedules"][0]["next"].endswith("T03:00:00+00:00")
    assert "nightly" in shown.stderr
    written = [path for path in root.rglob("*") if path.is_file()]
    assert len(written) > 8
    assert not [path for path in written if PLANTED.encode() in path.read_bytes()]
    code = """
from cluster.submission import RayJobs
client = RayJobs().client
ours = [job for job in client.list_jobs() if job.submission_id]
print([(job, client.get_job_logs(job.submission_id)) for job in ours])
"""
    jobs = subprocess.run(
        [sys.executable, "-c", code],
        cwd=HOUSE,
        env=home,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "nightly-" in jobs
    assert PLANTED not in jobs + done.stdout + done.stderr


def test_a_failing_build_is_seen_everywhere(home: dict[str, str], tmp_path: Path) -> None:
    plan = schedules(
        tmp_path, "broken|cron: '0 3 * * *', retries: 0, build: {source: /no/such/folder}"
    )
    done = schedule(home, "--schedule", plan, "--run_now", "broken")
    assert done.returncode == 1
    (row,) = result(done)["schedules"]
    assert (row["status"], row["tried"], row["will_retry"]) == ("failed", 1, False)
    assert "/no/such/folder" in row["error"]
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/root/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("schedules").experiment_id])
    assert [(run.info.status, run.data.tags["schedule"]) for run in runs] == [("FAILED", "broken")]
    assert "/no/such/folder" in runs[0].data.tags["error"]
    assert schedule(home, "--schedule", plan, "--once").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schedule", "/nowhere.yaml"], "no schedule file /nowhere.yaml"),
        (["--run_now", "nobody"], "no schedule 'nobody'; there are linux, latex, wikipedia"),
        (["--often"], "often"),
    ],
)
def test_bad_input_is_one_clear_line(
    home: dict[str, str], arguments: list[str], message: str
) -> None:
    done = schedule(home, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


@pytest.mark.long
def test_two_schedulers_with_a_clock_of_minutes_and_one_killed(
    home: dict[str, str], tmp_path: Path
) -> None:
    plan = schedules(tmp_path, "minutely|cron: '* * * * *', train: {max_steps: 10}")
    command = [sys.executable, "jobs/schedule.py", "--schedule", plan]
    logs = [(tmp_path / f"scheduler-{n}.log").open("wb") for n in range(3)]
    began = time.time()
    running = [
        subprocess.Popen(command, cwd=HOUSE, env=home, stderr=log, stdout=log) for log in logs[:2]
    ]
    time.sleep(95)
    running[0].send_signal(signal.SIGKILL)
    running[0].wait()
    running.append(subprocess.Popen(command, cwd=HOUSE, env=home, stderr=logs[2], stdout=logs[2]))
    time.sleep(115)
    for process in running[1:]:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    minutes = int((time.time() - began) // 60) - 1  # one firing may wait for the training
    folder = tmp_path / "root" / "schedules" / "mine"
    everything = [json.loads(path.read_text()) for path in sorted(folder.glob("??????.json"))]
    # One version was new.
    assert [attempt["stage"] for attempt in everything].count("train") == 1
    attempts = [attempt for attempt in everything if attempt["stage"] == "build"]
    assert minutes - 1 <= len(attempts) <= minutes + 1
    assert len({attempt["instant"] for attempt in attempts}) == len(attempts)
    ended = [json.loads(path.read_text()) for path in sorted(folder.glob("*.ended.json"))]
    assert len(ended) >= len(everything) - 1
    assert all(word["status"] == "succeeded" for word in ended)
    built = [word["result"]["built"] for word in ended if "built" in word["result"]]
    assert built == [True] + [False] * (len(built) - 1)  # unchanged after the first
    assert [word["result"]["model"] for word in ended if "model" in word["result"]] == [
        "models:/mine/1"
    ]
    assert len({attempt["by"] for attempt in attempts}) >= 1
    assert os.path.exists(tmp_path / "root" / "corpora" / "mine" / "LATEST")


# ---- the command, without a cluster


class Noting:
    """In place of RayJobs: jobs that are submitted, and end at once without a word."""

    started: ClassVar[list[str]] = []

    def start(self, job_id: str, entrypoint: str) -> None:
        self.started.append(entrypoint)

    def has_ended(self, job_id: str) -> bool | None:
        return True

    def output(self, job_id: str) -> str:
        return ""


@pytest.fixture
def noting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("cluster.submission.RayJobs", Noting)
    Noting.started.clear()
    return Noting.started


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, dict[str, Any]]:
    """Exit status and JSON line of the job, run in this process."""
    status: Any = 0
    try:
        jobs.schedule.main(list(arguments))
    except SystemExit as ended:
        status = ended.code
    return status, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_list_shows_what_there_is_and_submits_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], noting: list[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE.format(source="/texts"))
    plan = schedules(tmp_path, "yearly|cron: '0 5 2 1 *'", "never|cron: '0 0 */20 * 1L'")
    root = str(tmp_path / "root")
    status, result = command(capsys, "--root", root, "--schedule", plan, "--list")
    assert (status, noting) == (0, [])
    assert sorted(result) == ["root", "schedules"]
    assert result["root"] == root
    yearly, never = result["schedules"]
    assert yearly["next"].endswith("-01-02T05:00:00+00:00")
    assert (never["schedule"], never["corpus"], never["next"]) == ("never", "mine", None)
    assert not (tmp_path / "root").exists()


def test_a_firing_that_is_given_up_is_exit_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], noting: list[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE.format(source="/texts"))
    plan = schedules(tmp_path, "broken|cron: '0 5 2 1 *', retries: 0")
    root = str(tmp_path / "root")
    arguments = ("--root", root, "--schedule", plan)
    status, result = command(capsys, *arguments, "--once")
    assert (status, noting) == (0, [])
    assert (result["failed"], result["exit_status"]) == ([], 0)
    status, result = command(capsys, *arguments, "--run_now", "broken")
    assert noting == [f"python jobs/schedule.py --root {root} --perform mine/1"]
    assert status == 1
    assert (result["failed"], result["exit_status"]) == (["broken"], 1)
    (row,) = result["schedules"]
    assert (row["status"], row["error"]) == ("failed", "the job was killed")
    assert command(capsys, *arguments, "--once")[0] == 1
    assert command(capsys, *arguments, "--list")[0] == 0


def test_a_submitted_job_ends_as_its_command_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = []
    monkeypatch.setattr(jobs.schedule, "record", lambda *said: recorded.append(said))
    root = str(tmp_path / "root")
    build = ("jobs/build_corpus.py", "--root", root, "--often")
    ledger = Ledger(root)
    ledger.append(attempt(corpus="mine", command=build))
    status, result = command(capsys, "--root", root, "--perform", "mine/1")
    assert status == result["exit_status"] == 2
    assert "often" in result["error"]
    ((recorded_attempt, outcome),) = recorded
    assert recorded_attempt == ledger.entry("mine", 1).attempt
    assert outcome.exit_status == 2
    status, result = command(capsys, "--root", root, "--perform", "mine/1")
    assert (status, result["status"]) == (0, "started before")


def test_an_attempt_shows_in_mlflow(tmp_path: Path) -> None:
    root = f"{tmp_path}/root"
    one = attempt(command=("jobs/build_corpus.py", "--root", root))
    jobs.schedule.record(one, Outcome(exit_status=0, seconds=2.5, result={"version": "v1"}))
    failed = Outcome(error="disk full", exit_status=1, seconds=1.5, result={})
    jobs.schedule.record(attempt(tried=1, command=one.command), failed)
    client = mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("schedules")
    retry, first = client.search_runs([experiment.experiment_id], order_by=["tags.tried DESC"])
    assert (first.info.run_name, first.info.status) == (one.job_id, "FINISHED")
    assert (retry.info.status, retry.data.tags["error"]) == ("FAILED", "disk full")
    assert first.data.tags["version"] == "v1"
    assert first.data.metrics == {"seconds": 2.5}
