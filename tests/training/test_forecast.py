"""What a run would do, compared with trainers and runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.model.about import CorpusReference
from pipeline.registry.models import SETTINGS_TAG
from pipeline.training import estimate, loop
from pipeline.training.config import TrainConfig, settings_digest
from pipeline.training.forecast import Text, TrainForecast, forecast
from pipeline.training.preflight import RunStart
from pipeline.training.trainer import Trainer
from tests.registering import checkpoint
from tests.training.conftest import SMALL, Kept


@pytest.fixture(autouse=True)
def _rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a measurement."""
    monkeypatch.setattr(estimate, "product_rate", lambda *shape: 1e9)


def small(**changes: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL, **changes})


def files(root: str) -> set[Path]:
    return set(Path(root).rglob("*"))


def said(root: str, **changes: Any) -> TrainForecast:
    return forecast(small(**changes), root, "small", None, 2)


def test_a_run_is_forecast_as_it_then_is(
    small_root: str, small_corpus: Corpus, make_trainer: Callable[..., Trainer], kept: Kept
) -> None:
    before = files(small_root)
    found = said(small_root)
    assert files(small_root) == before
    trainer = make_trainer(snapshot_every=10)  # one of the start would have no optimiser
    result = loop.train(trainer, kept)
    assert found.parameters == result.parameters
    assert found.steps == found.total_steps == result.step == 20
    assert found.steps_per_epoch == trainer.plan.steps_per_epoch
    assert found.tokens_per_step == trainer.plan.tokens_per_step
    assert found.evaluations == sum("val_loss" in row for row in kept.rows) == 2
    assert found.text == Text.of(small_corpus)
    assert (found.same_settings, found.resumed, found.warnings) == (None, None, ())
    one = sum(len(data) for name, data in kept.files[20].items() if name.endswith("safetensors"))
    # The newest two and the best, which may be one of them.
    assert found.checkpoint_bytes == pytest.approx(3 * one, rel=0.05)


def test_what_ends_a_run_is_said(small_root: str) -> None:
    per_epoch = said(small_root).steps_per_epoch
    found = said(small_root, max_epochs=2, max_minutes=1.5, patience=3)
    assert found.ends == (
        f"max_steps: step 20, epoch {20 / per_epoch:.1f}",
        f"max_epochs: epoch 2, step {2 * per_epoch}",
        "max_minutes: 1.5 minutes of training",
        "patience: 3 evaluations without a lower val_loss",
    )
    clocked = said(small_root, max_steps=0, max_minutes=2.0, eval_every="1m")
    assert (clocked.total_steps, clocked.steps, clocked.evaluations) == (0, 0, None)
    assert clocked.seconds is not None
    assert clocked.seconds.value == 25 + 120


def test_lanes_are_dealt_out_as_to_ranks(small_root: str) -> None:
    found = said(small_root, num_workers=4)
    assert found.lanes_by_worker == (1, 2, 1, 2)
    assert found.warnings == ("4 CPUs are asked for, this machine has 2: the run would wait",)
    assert said(small_root, use_gpu=True).seconds is None


def test_checkpoints_are_said_by_steps_or_minutes(small_root: str) -> None:
    assert said(small_root).checkpoints.startswith("every 5 minutes, ")
    found = said(small_root, checkpoint_every=1000, keep_checkpoints=4).checkpoints
    assert found.startswith("every 1,000 steps, ")
    assert "newest 4" in found


def test_a_resumed_run_goes_on_from_its_newest_checkpoint(
    small_root: str, small_corpus: Corpus, make_trainer: Callable[..., Trainer]
) -> None:
    reference = CorpusReference("small", small_corpus.version, small_corpus.fingerprint)
    run = runs.run_url(small_root, "resumed")
    RunStart(reference, "small", asdict(small())).write(run)
    fresh = said(small_root, resume="resumed")
    assert fresh.resumed is not None
    assert (fresh.resumed.checkpoint, fresh.steps) == (None, 20)
    stopped = Kept(stop_at=12)
    loop.train(make_trainer(), stopped)
    stopped.write(run, 12)
    found = said(small_root, resume="resumed")
    assert found.resumed is not None
    assert (found.resumed.step, found.resumed.best_step, found.steps) == (12, 10, 8)
    assert found.resumed.checkpoint == storage.join(run, "checkpoint-00000012")
    with pytest.raises(InputError, match="this one had --seed 1"):
        said(small_root, resume="resumed", seed=2)
    with pytest.raises(InputError, match="no run 'nope'"):
        said(small_root, resume="nope")


def test_bad_input_is_refused_as_by_the_run(small_root: str) -> None:
    with pytest.raises(InputError, match="no corpus 'nope'"):
        said(small_root, corpus="nope")
    with pytest.raises(InputError, match="lanes of seq_len"):
        said(small_root, seq_len=10**7)
    with pytest.raises(InputError, match="no model models:/m/1: nothing is registered"):
        said(small_root, init_from="models:/m/1")


def test_a_model_to_start_from_must_have_the_same_shape(root: str) -> None:
    url = checkpoint(root, 16)
    settings = small(corpus="texts", num_layers=1, hidden_size=16, init_from=url)
    assert forecast(settings, root, "texts", None, 2).parameters > 0
    larger = dataclasses.replace(settings, hidden_size=24)
    with pytest.raises(InputError, match=r"hidden_size 16 \(not 24\); --init_from"):
        forecast(larger, root, "texts", None, 2)


def test_a_corpus_to_be_built_is_said_to_be_estimated(small_root: str) -> None:
    text = Text(
        name="later",
        version="",
        fingerprint="",
        unit="byte",
        vocab_size=50,
        train_tokens=1201,
        val_tokens=100,
        whole=False,
    )
    found = forecast(small(), small_root, "later", text, None)
    assert found.steps_per_epoch == 10
    assert found.warnings[0].startswith("the corpus is still to be built")


def test_the_model_of_the_same_settings_is_found(
    small_root: str, small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Registry:
        def trained(self, *key: str) -> Any:
            asked.append(key)
            return SimpleNamespace(uri="models:/small/3")

    monkeypatch.setattr("pipeline.training.forecast.registry", lambda root: Registry())
    found = said(small_root)
    assert found.same_settings == "models:/small/3"
    assert asked == [("small", settings_digest(asdict(small())), small_corpus.fingerprint)]
    assert SETTINGS_TAG == "train_settings"
