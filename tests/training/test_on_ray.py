"""What a Ray worker runs: in this process without Ray, and on two real workers."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.errors import InputError
from pipeline.runs import checkpoint_name
from pipeline.training import on_ray
from pipeline.training.conductor import Conductor
from pipeline.training.config import TrainConfig
from pipeline.training.finishing import TrainedRun
from pipeline.training.loop import RunResult
from pipeline.training.on_ray import check_resources, run_training
from pipeline.training.preview import preview
from pipeline.training.trainer import Trainer
from tests.training.conftest import CONFIG, SMALL


class Actor:
    """A conductor that is asked as an actor is, without Ray."""

    def __init__(self) -> None:
        self.conductor = Conductor()
        for name in ("begin", "reach", "fail", "ask_to_stop", "read"):
            setattr(self, name, SimpleNamespace(remote=getattr(self.conductor, name)))


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> Actor:
    """The conductor of workers that run in this process, of whom Ray wants no report."""
    import ray

    monkeypatch.setattr(ray, "get", lambda value, timeout=0: value)
    monkeypatch.setattr(on_ray.RayReporter, "_report_best", lambda self, result: None)
    monkeypatch.setattr(on_ray, "log_to_stderr", lambda: None)
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    return Actor()


@pytest.fixture
def work(
    actor: Actor, small_corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Callable[..., dict[str, Any]]:
    """Runs a worker of the run in tmp_path with changed settings; returns what it returns."""
    caplog.set_level(logging.INFO, "unreasonable")

    def run(**changes: Any) -> dict[str, Any]:
        session = {
            "config": dataclasses.asdict(TrainConfig(**{**SMALL, **changes})),
            "corpus": small_corpus.url,
            "run": str(tmp_path),
            "name": "model",
            "conductor": actor,
        }
        levels = {name: logging.getLogger(name).level for name in ("", "ray.train")}
        try:
            return on_ray._worker(session)
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)

    return run


Work = Callable[..., dict[str, Any]]


def test_a_worker_trains_and_keeps_checkpoints_journal_and_samples(
    work: Work, actor: Actor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = RunResult.from_json(work(sample_every="5,20", sample_chars=40))
    assert (result.step, result.stopped) == (20, False)
    assert runs.newest(str(tmp_path)) == checkpoint_name(20)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 21))
    samples = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert samples == ["step-000005.txt", "step-000020.txt"]
    assert all(len((tmp_path / "samples" / name).read_bytes()) == 40 for name in samples)
    # What the run has come to is told: the driver shows it.
    (first,) = [record.message for record in caplog.records]
    standing = actor.conductor.read()
    assert standing is not None
    assert re.fullmatch(
        r"train model: [\d,]+ parameters, [\d,]+ train tokens, \d+ steps an epoch, 1 workers", first
    )
    expected = r"^20 steps of 20 steps \(100%\), .* loss .* val .* bits/char, ([\d,]+) chars/s$"
    found = re.search(expected, standing.text)
    assert found is not None
    # One figure: in the journal, which goes to MLflow, in the JSON result, and on the screen.
    assert result.chars_per_sec == rows[-1]["chars_per_sec"]
    assert found[1] == f"{result.chars_per_sec:,.0f}"


def test_a_worker_goes_on_from_the_newest_checkpoint(
    work: Work, actor: Actor, tmp_path: Path
) -> None:
    assert work(max_steps=8)["step"] == 8
    assert work(max_steps=12)["step"] == 12
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))
    again = work(max_steps=12)
    assert (again["step"], again.get("chars_per_sec")) == (12, None)
    standing = actor.conductor.read()
    assert standing is not None
    assert standing.text == "12 steps of 12 steps (100%), nothing was left to do"


def test_a_worker_starts_from_the_model_in_the_runs_folder(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture, small_corpus: Corpus
) -> None:
    work()
    best = runs.best(str(tmp_path))
    assert best is not None
    files = {path.name: path.read_bytes() for path in (tmp_path / best).iterdir()}
    scored = json.loads(files["state.json"])["val_loss"]
    for name in runs.complete(str(tmp_path)):
        storage.remove_tree(str(tmp_path / name))
    del files["digests.json"]
    runs.write_checkpoint(str(tmp_path / "init"), files)
    caplog.clear()
    warm = work(init_from="models:/old/1", max_steps=1, learning_rate=1e-9)
    assert warm["best"]["val_loss"] == pytest.approx(scored, rel=1e-4)
    symbols = len(small_corpus.vocab)
    line = f"starting from models:/old/1: {symbols} of {symbols} symbols known"
    assert line in [record.message for record in caplog.records]


def test_a_worker_stops_when_the_conductor_says_so(
    work: Work, actor: Actor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(on_ray, "STOP_POLL_S", 0.01)
    actor.conductor.ask_to_stop()
    result = RunResult.from_json(work(max_steps=10**6, eval_every=10**6))
    assert result.stopped
    assert runs.newest(str(tmp_path)) == checkpoint_name(result.step)
    assert 0 <= actor.conductor.reached <= result.step


def test_what_a_worker_refuses_is_returned_and_not_raised(work: Work, actor: Actor) -> None:
    refused = work(global_batch_size=900)["refused"]
    assert refused.startswith("train split has")
    assert actor.conductor.failure == ""


def test_a_run_that_diverges_returns_so_and_keeps_its_rows(work: Work, tmp_path: Path) -> None:
    wild = {"learning_rate": 1e37, "optimizer": "rmsprop", "max_grad_norm": 0.0}
    result = RunResult.from_json(work(**wild, max_steps=200, max_rollbacks=2))
    assert result.diverged is not None
    assert result.diverged.startswith("training diverged at step")
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, result.step + 1))
    assert rows[-1]["rollbacks"] == 3
    assert runs.best(str(tmp_path)) is not None


def test_a_worker_gives_up_when_the_conductor_says_so(
    work: Work, actor: Actor, tmp_path: Path
) -> None:
    for _ in range(3):
        actor.conductor.begin()
    assert "no progress over 3 restarts" in work()["refused"]
    assert runs.complete(str(tmp_path)) == []


def test_an_error_of_a_worker_is_told_and_raised(
    work: Work, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(url: str, files: dict[str, bytes]) -> None:
        raise OSError(28, "No space\nleft " + "x" * 600)

    monkeypatch.setattr(runs, "write_checkpoint", full)
    with pytest.raises(OSError, match="the last checkpoint was not written: OSError"):
        work()
    told = actor.conductor.failure
    assert told.startswith("OSError: the last checkpoint was not written: OSError: [Errno 28] No")
    assert len(told) == len("OSError: ") + 500
    assert "\n" not in told


def test_a_poller_without_anybody_to_ask_says_so(
    work: Work, actor: Actor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(step: int, standing: object) -> None:
        raise ConnectionError("the driver is gone")

    monkeypatch.setattr(on_ray, "STOP_POLL_S", 0.0)
    actor.reach = SimpleNamespace(remote=gone)  # type: ignore[attr-defined]
    assert work()["step"] == 20
    assert "nobody to ask whether to stop: ConnectionError" in caplog.text


@pytest.mark.parametrize(("watcher", "asked"), [("1", True), ("0", False)])
def test_ranks_ask_whether_a_node_is_about_to_leave(
    work: Work, monkeypatch: pytest.MonkeyPatch, watcher: str, asked: bool
) -> None:
    questions = []

    def leaving(_: Any) -> bool:
        questions.append(1)
        return False

    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", watcher)
    monkeypatch.setattr(on_ray, "PREEMPTION_CHECK_S", 1e-9)
    monkeypatch.setattr(on_ray.RayReporter, "leaving", leaving)
    work()
    assert bool(questions) == asked


def test_ray_trains_actors_are_told_which_ray_they_belong_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Left to find out, the cleaner of placement groups fails where two Rays run."""
    import ray
    from ray.train.v2._internal.constants import get_env_vars_to_propagate

    context = SimpleNamespace(gcs_address="10.0.0.7:6379")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    for before in (None, "auto"):
        if before:
            monkeypatch.setenv("RAY_ADDRESS", before)
        with on_ray._own_address():
            assert get_env_vars_to_propagate()["RAY_ADDRESS"] == "10.0.0.7:6379"
        assert os.environ.get("RAY_ADDRESS") == before
        assert "RAY_ADDRESS" not in get_env_vars_to_propagate()


def test_more_workers_than_the_cluster_has_are_refused_at_once(home: str, local_ray: None) -> None:
    corpus = open_corpus(home, "texts")
    with pytest.raises(InputError, match="7 workers need 7 CPUs, the cluster has 2"):
        run_training(dataclasses.replace(CONFIG, num_workers=7), home, "never", "texts", corpus)
    with pytest.raises(InputError, match="2 workers need 6 CPUs, the cluster has 2"):
        run_training(dataclasses.replace(CONFIG, cpus_per_worker=3), home, "never", "texts", corpus)
    with pytest.raises(InputError, match="2 workers need 2 GPUs, the cluster has 0"):
        run_training(dataclasses.replace(CONFIG, use_gpu=True), home, "never", "texts", corpus)
    check_resources(CONFIG)
    check_resources(dataclasses.replace(CONFIG, num_workers="2:7"))  # it begins with what there is
    assert not Path(home, "runs", "never").exists()


def test_a_diverging_run_says_so(home: str, in_process: None) -> None:
    wild = dataclasses.replace(
        CONFIG, learning_rate=1e37, optimizer="rmsprop", max_grad_norm=0.0, num_workers=1
    )
    result = run_training(wild, home, "wild", "texts", open_corpus(home, "texts"))
    assert result.diverged is not None
    assert result.diverged.startswith("training diverged at step")


def stable(run: str) -> list[dict[str, Any]]:
    """The journal of a run without what depends on the clock."""
    lines = Path(run, "metrics.jsonl").read_text().splitlines()
    clocks = ("time", "chars_per_sec")
    return [
        {key: value for key, value in json.loads(line).items() if key not in clocks}
        for line in lines
    ]


def timeless(result: RunResult) -> RunResult:
    return dataclasses.replace(result, minutes=0.0, chars_per_sec=None)


def test_a_run_on_two_workers_is_the_same_run_whether_it_was_stopped_or_not(
    trained: TrainedRun, home: str
) -> None:
    result = run_training(CONFIG, home, "whole", "texts", open_corpus(home, "texts"))
    assert trained.result is not None
    timeless = [
        dataclasses.replace(one, minutes=0.0, chars_per_sec=None)
        for one in (result, trained.result)
    ]
    assert timeless[0] == timeless[1]
    whole = runs.run_url(home, "whole")
    for name in ("weights.safetensors", "optimizer.safetensors", "lanes.safetensors"):
        files = [Path(run, checkpoint_name(60), name).read_bytes() for run in (trained.run, whole)]
        assert files[0] == files[1], name
    assert stable(whole) == stable(trained.run)
    for step in (10, 40):
        name = f"samples/step-{step:06d}.txt"
        assert Path(whole, name).read_bytes() == Path(trained.run, name).read_bytes()


def test_ray_knows_the_best_checkpoint(trained: TrainedRun) -> None:
    assert trained.result is not None
    assert trained.result.best.step is not None
    best = checkpoint_name(trained.result.best.step)
    assert best in Path(trained.run, "checkpoint_manager_snapshot.json").read_text()


def test_a_sample_of_a_run_is_the_preview_of_its_checkpoint(trained: TrainedRun, home: str) -> None:
    trainer = Trainer(CONFIG, open_corpus(home, "texts"), torch.device("cpu"))
    trainer.load(storage.join(trained.run, checkpoint_name(40)))
    sample = Path(trained.run, "samples", "step-000040.txt").read_bytes()
    assert preview(trainer, 60) == sample


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_on_a_gpu_with_bf16(home: str, local_ray: None) -> None:
    config = dataclasses.replace(CONFIG, use_gpu=True, num_workers=1, precision="bf16")
    run_training(config, home, "gpu", "texts", open_corpus(home, "texts"))


def test_a_worker_goes_on_before_a_damaged_checkpoint_and_makes_its_steps_again(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = work(max_steps=20)
    newest = tmp_path / checkpoint_name(20)
    (newest / "state.json").write_bytes((newest / "state.json").read_bytes().replace(b"20", b"21"))
    caplog.clear()
    again = work(max_steps=20)
    assert again["best"] == whole["best"]
    assert "going on from checkpoint-00000010 instead of checkpoint-00000020" in caplog.text
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert runs.damage(str(newest)) == ""


def test_a_worker_refuses_a_run_of_which_nothing_is_whole(work: Work, tmp_path: Path) -> None:
    work(max_steps=8)
    (tmp_path / checkpoint_name(8) / "lanes.safetensors").write_bytes(b"")
    assert "none of the 1 checkpoints" in work(max_steps=8)["refused"]
