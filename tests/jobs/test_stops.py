"""A run that is stopped in every way ends as if it had never stopped: the job as a person runs it,
killed for real.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from pipeline import runs
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus
from pipeline.training import loop
from pipeline.training.config import TrainConfig
from pipeline.training.journal import rows
from pipeline.training.trainer import Trainer
from tests.jobs.conftest import HOUSE
from tests.training.conftest import Kept

STEPS = 600
EVERY = 50
SETTINGS: dict[str, Any] = {  # and what the default recipe would set otherwise
    "corpus": "texts", "num_layers": 1, "hidden_size": 96, "global_batch_size": 24, "seq_len": 32,
    "dropout": 0.2, "optimizer": "adam", "learning_rate": 0.002, "schedule": "constant",
    "warmup_steps": 0, "max_steps": STEPS, "max_epochs": 0, "eval_every": 200,
    "checkpoint_every": EVERY, "patience": 3, "num_workers": 1,
}  # fmt: skip


class Job:
    """jobs/train.py in a session of its own, as from a terminal."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self.root = root
        command = [sys.executable, "jobs/train.py", "--root", str(root), *arguments]
        self.log = (root / "log.txt").open("a")
        self.process = subprocess.Popen(
            command,
            cwd=HOUSE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            start_new_session=True,
        )

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints of the only run."""
        # Beside it a file may lie that a job has just tried to write: then it is gone again.
        folders = [each for each in (self.root / "runs").glob("*") if runs.is_run(str(each))]
        if not folders:
            return []
        (run,) = folders
        return [runs.step_of(name) for name in runs.complete(str(run))]

    def wait_for(self, step: int) -> None:
        for _ in range(1200):
            if (self.steps() or [0])[-1] >= step:
                return
            assert self.process.poll() is None, (self.root / "log.txt").read_text()[-3000:]
            time.sleep(0.1)
        raise TimeoutError(f"step {step} was not reached")

    def end(self) -> tuple[int, str]:
        """Exit status and last line of stdout, when it has ended by itself."""
        out, _ = self.process.communicate(timeout=180)
        self.log.close()
        return self.process.returncode, (out.splitlines() or [""])[-1]

    def family(self, *names: str) -> list[psutil.Process]:
        """The processes of this job's own local Ray whose command line holds one of the names."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                line = " ".join(process.cmdline())
                found += [process] if any(name in line for name in names) else []
        return found


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """As a worker with one CPU computes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def home(tmp_path: Path, texts: Path) -> Path:
    build_corpus(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), str(tmp_path))
    return tmp_path


def flags(**changes: Any) -> list[str]:
    return [
        part for key, value in {**SETTINGS, **changes}.items() for part in (f"--{key}", str(value))
    ]


def stable(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key not in ("time", "chars_per_sec")}
        for row in found
    ]


@pytest.mark.long
def test_ctrl_c_and_a_killed_worker_change_nothing(home: Path) -> None:
    first = Job(home, *flags())
    first.wait_for(EVERY)
    os.killpg(first.process.pid, signal.SIGINT)  # what a terminal sends
    status, line = first.end()
    run_id = json.loads(line)["run_id"]
    assert status == 130
    assert json.loads(line)["stopped"]
    stopped_at = first.steps()[-1]
    assert stopped_at == json.loads(line)["step"]
    assert f"--resume {run_id}" in (home / "log.txt").read_text()
    second = Job(home, "--resume", run_id)
    second.wait_for(stopped_at + EVERY)
    kill(second.family("ray::RayTrainWorker"))
    status, line = second.end()
    result = json.loads(line)
    assert (status, result["run_id"], result["step"], result["model"]) == (
        0,
        run_id,
        STEPS,
        "models:/texts/1",
    )

    kept = Kept()
    with one_thread():
        loop.train(
            Trainer(TrainConfig(**SETTINGS), open_corpus(str(home), "texts"), torch.device("cpu")),
            kept,
        )
    last = Path(result["run"], runs.checkpoint_name(STEPS))
    for name in ("weights.safetensors", "optimizer.safetensors", "lanes.safetensors"):
        assert (last / name).read_bytes() == kept.files[STEPS][name], name
    journal = rows(Path(result["run"], "metrics.jsonl").read_bytes())
    assert [row["step"] for row in journal] == list(range(1, STEPS + 1))
    assert stable(journal) == stable(kept.rows)
    refused = Job(home, "--resume", run_id).end()
    assert refused == (2, "")


@pytest.mark.long
def test_any_sequence_of_stops_ends_alike(home: Path, tmp_path: Path) -> None:
    """Two workers; SIGTERM, a killed worker, the killed driver, the whole killed cluster, against
    an undisturbed run.
    """
    whole = json.loads(Job(home, *flags(num_workers=2, max_steps=1500)).end()[1])
    Path(whole["run"]).rename(home / "whole")
    job = Job(home, *flags(num_workers=2, max_steps=1500))
    job.wait_for(EVERY)
    os.kill(job.process.pid, signal.SIGTERM)
    status, line = job.end()
    assert status == 130
    run_id = json.loads(line)["run_id"]
    for victim in ("worker", "driver", "cluster"):
        job = Job(home, "--resume", run_id)
        reached = (job.steps() or [0])[-1]
        job.wait_for(reached + EVERY)
        if victim == "worker":
            kill(job.family("ray::RayTrainWorker")[-1:])
            job.wait_for(reached + 3 * EVERY)
        family = job.family("ray::", "raylet", "gcs_server") if victim == "cluster" else []
        kill([*family, psutil.Process(job.process.pid)])
        psutil.wait_procs(
            job.family("ray::RayTrainWorker") if job.process.poll() is None else [], timeout=30
        )
        job.process.wait(30)
    status, line = Job(home, "--resume", run_id).end()
    assert status == 0
    last = Path(json.loads(line)["run"])
    for name in ("weights.safetensors", "optimizer.safetensors", "lanes.safetensors"):
        ours = last / runs.checkpoint_name(1500) / name
        theirs = home / "whole" / runs.checkpoint_name(1500) / name
        assert ours.read_bytes() == theirs.read_bytes(), name
    journals = [rows((folder / "metrics.jsonl").read_bytes()) for folder in (last, home / "whole")]
    assert stable(journals[0]) == stable(journals[1])
