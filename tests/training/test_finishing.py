"""What a run leaves on a tracking server can be made again, by whoever comes when it answers."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.errors import InputError
from pipeline.lease import Lease
from pipeline.model.about import CorpusReference
from pipeline.registry import publication
from pipeline.registry.models import Models
from pipeline.registry.tracking import RUN_TAG, Tracking
from pipeline.training import finishing, loop, publisher
from pipeline.training import run as module
from pipeline.training.config import TrainConfig
from pipeline.training.finishing import sync_run
from pipeline.training.journal import rows
from pipeline.training.preflight import RunStart
from pipeline.training.run import run_experiment
from pipeline.training.trainer import Trainer
from tests.loopback import Behaviour, dies, fails, loopback, silent
from tests.registering import with_database
from tests.training.conftest import SMALL, Kept

Make = Callable[..., Trainer]
CONFIG = TrainConfig(**SMALL)


@pytest.fixture(scope="module")
def learned(small_corpus: Corpus) -> tuple[loop.RunResult, Kept]:
    """A run's result and checkpoints, of steps 10 and 20."""
    import torch

    kept = Kept()
    trainer = Trainer(CONFIG, small_corpus, torch.device("cpu"))
    return loop.train(trainer, kept), kept


@pytest.fixture
def root(small_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A root with the corpus `small` and an empty registry, where nobody measures precision."""
    folder = tmp_path / "root"
    shutil.copytree(Path(small_root, "corpora"), folder / "corpora")
    monkeypatch.setattr(publication, "SAMPLE_CHARS", 10)
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    return with_database(str(folder))


@pytest.fixture
def train(
    root: str, learned: tuple[loop.RunResult, Kept], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Any]:
    """A run from end to end whose training is a copy."""
    result, kept = learned

    def run_training(config: Any, root: str, run_id: str, *_: Any) -> loop.RunResult:
        for step in kept.files:
            kept.write(runs.run_url(root, run_id), step)
        return result

    monkeypatch.setattr(module, "check_resources", lambda config: None)
    monkeypatch.setattr(module, "run_training", run_training)
    return lambda: run_experiment(CONFIG, root, "small", open_corpus(root, "small"))


def only_run(root: str) -> str:
    (run_id,) = storage.names(runs.runs_url(root))
    return run_id


def check_it_is_all_there(root: str, run_id: str) -> None:
    """Each row once with its time, the run finished, one version, which is champion."""
    tracking = Tracking(root)
    (run,) = tracking.client.search_runs([tracking.experiment("small")])
    assert (run.data.tags[RUN_TAG], run.info.status) == (run_id, "FINISHED")
    written = rows(storage.read_bytes(storage.join(runs.run_url(root, run_id), runs.METRICS)))
    history = tracking.client.get_metric_history(run.info.run_id, "train_loss")
    assert sorted((metric.step, metric.timestamp) for metric in history) == [
        (row["step"], int(row["time"] * 1000)) for row in written
    ]
    (version,) = Models(tracking).versions_of("small")
    assert Models(tracking).champion("small") == version
    assert storage.exists(storage.join(runs.run_url(root, run_id), runs.END))


def test_a_run_is_recorded_registered_and_finished(root: str, train: Callable[[], Any]) -> None:
    trained = train()
    assert (trained.model, trained.champion) == ("models:/small/1", True)
    check_it_is_all_there(root, trained.run_id)
    # Once more nothing is left to do, and nothing is done twice.
    again = sync_run(root, trained.run_id)
    assert again.run_id == trained.run_id
    check_it_is_all_there(root, trained.run_id)


@pytest.mark.parametrize("does", [silent, fails, dies])
def test_a_run_beside_a_server_that_is_away_is_synced_when_it_is_back(
    root: str, train: Callable[[], Any], does: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for holder, name in ((publisher, "START_S"), (publisher, "END_S"), (finishing, "ANSWER_S")):
        monkeypatch.setattr(holder, name, 0.2)
    with loopback(does) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(InputError, match=r"is trained, and .* --sync \S+$") as pending:
            train()
    for thread in threading.enumerate():
        if thread.name == "journal-publisher":
            thread.join()
    run_id = only_run(root)
    assert str(pending.value).endswith(f"--root {root} --sync {run_id}")
    assert not storage.exists(storage.join(runs.run_url(root, run_id), runs.END))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    synced = sync_run(root, run_id)
    assert (synced.model, synced.champion) == ("models:/small/1", True)
    check_it_is_all_there(root, run_id)


@pytest.mark.parametrize("call", ["create_model_version", "set_registered_model_alias"])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_registration_or_promotion_that_fails_is_not_made_twice(
    root: str,
    train: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    is_done: bool,
) -> None:
    """Whether or not the server had done what it did not answer."""
    client = type(Tracking(root).client)
    real = getattr(client, call)

    def cut(self: Any, *given: Any, **named: Any) -> None:
        if is_done:
            real(self, *given, **named)
        raise ConnectionError("the line is cut")

    with monkeypatch.context() as patched:
        patched.setattr(client, call, cut)
        with pytest.raises(InputError, match=r"the line is cut.*--sync"):
            train()
    run_id = only_run(root)
    assert sync_run(root, run_id).champion is True
    check_it_is_all_there(root, run_id)


def test_a_damaged_best_checkpoint_gives_way_to_the_next_best(
    root: str, train: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.run_training

    def run_training(config: Any, root: str, run_id: str, *given: Any) -> Any:
        result = real(config, root, run_id, *given)
        run = runs.run_url(root, run_id)
        ranked = runs.ranked(run)
        Path(run, ranked[0], "weights.safetensors").write_bytes(b"damaged")
        return result

    monkeypatch.setattr(module, "run_training", run_training)
    trained = train()
    first, second = runs.ranked(trained.run)
    about = Models(Tracking(root)).download(Models(Tracking(root)).resolve(trained.model))
    whole = Path(trained.run, second, "weights.safetensors").read_bytes()
    assert about["weights.safetensors"] == whole
    assert first != second


def test_a_run_that_has_not_ended_gets_its_rows_and_no_model(
    root: str, learned: tuple[loop.RunResult, Kept]
) -> None:
    _, kept = learned
    corpus = open_corpus(root, "small")
    run = runs.run_url(root, "half")
    reference = CorpusReference(corpus.name, corpus.version, corpus.fingerprint)
    # An older version of the program knew other settings.
    config = dataclasses.asdict(CONFIG) | {"gone": 1}
    del config["sync"]
    RunStart(reference, "small", config).write(run)
    kept.write(run, 10)
    synced = sync_run(root, "half")
    assert (synced.model, synced.result) == ("", None)
    tracking = Tracking(root)
    (found,) = tracking.client.search_runs([tracking.experiment("small")])
    assert (found.info.status, found.data.tags["unreasonable.published_step"]) == ("KILLED", "10")
    assert Models(tracking).versions_of("small") == []
    # A process that works at it tells the server itself.
    Lease(storage.join(run, runs.LEASE), "run half").take()
    with pytest.raises(InputError, match="run half is under way"):
        sync_run(root, "half")


def test_an_unknown_run_is_not_synced(root: str) -> None:
    with pytest.raises(InputError, match="no run 'nope'"):
        sync_run(root, "nope")
