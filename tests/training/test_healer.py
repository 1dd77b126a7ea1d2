"""Divergence heals: back to the snapshot, a lower rate, and on; the same however it is resumed."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from pipeline import runs
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus, open_corpus, open_version
from pipeline.corpora.trace import Part, Tracer
from pipeline.training import loop
from pipeline.training.config import TrainConfig
from pipeline.training.healing import RATE_FACTOR
from pipeline.training.journal import rows
from pipeline.training.trainer import NO_VOTES, Trainer, Votes
from tests.training.conftest import SMALL, Kept
from tests.training.test_loop import stable, weights
from tests.training.worlds import join_world, run_ranks

Make = Callable[..., Trainer]
LONG: dict[str, Any] = {"max_steps": 120, "eval_every": 60, "snapshot_every": 8}


def faults(kept: Kept) -> list[int]:
    return [row["step"] for row in kept.rows if "fault" in row]


def spoil(trainer: Trainer, at: dict[int, Callable[[torch.Tensor], Any]]) -> Trainer:
    """Change the head's weights in place before the steps of a table."""
    real_step = trainer.train_step

    def step(votes: Votes = NO_VOTES) -> Any:
        change = at.get(trainer.step + 1)
        if change:
            with torch.no_grad():
                change(trainer.model.head.weight)
        return real_step(votes)

    trainer.train_step = step  # type: ignore[method-assign]
    return trainer


SPOILT: dict[int, Callable[[torch.Tensor], Any]] = {
    50: lambda weight: weight.fill_(math.nan),
    71: lambda weight: weight.mul_(1000),
}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_is_healed(make_trainer: Make, kept: Kept, bad: float) -> None:
    trainer = spoil(make_trainer(**LONG), {50: lambda weight: weight.fill_(bad)})
    result = loop.train(trainer, kept)
    assert (result.rollbacks, result.diverged, faults(kept)) == (1, None, [50])
    assert [row["step"] for row in kept.rows] == list(range(1, 121))
    row = kept.rows[49]
    assert (row["rolled_back_to"], row["rollbacks"], row["rate_multiplier"]) == (48, 1, RATE_FACTOR)
    assert "learning_rate" not in row
    assert kept.rows[48]["learning_rate"] == 0.01
    assert kept.rows[50]["learning_rate"] == 0.01 * RATE_FACTOR
    assert kept.rows[50]["train_loss"] < kept.rows[0]["train_loss"] - 0.5
    assert result.best.step == 120


def test_a_rollback_gives_back_the_weights_of_the_snapshot(make_trainer: Make) -> None:
    trainer = make_trainer(**LONG)
    for step in range(1, 20):
        if step == 17:
            at_16 = weights(trainer)
        trainer.train_step()
    with torch.no_grad():
        trainer.model.head.bias[0] = math.nan
    trainer.train_step()
    assert trainer.step == 20
    assert all(torch.equal(value, at_16[name]) for name, value in weights(trainer).items())
    assert not trainer.state.any()


def test_a_spike_is_healed(make_trainer: Make, kept: Kept) -> None:
    trainer = spoil(make_trainer(**LONG), {71: lambda weight: weight.mul_(1000)})
    result = loop.train(trainer, kept)
    assert (result.rollbacks, faults(kept)) == (1, [71])
    assert kept.rows[70]["fault"].startswith("loss ")
    assert kept.rows[71]["train_loss"] < 4


def test_nothing_is_watched_without_rollbacks(make_trainer: Make) -> None:
    finite = Kept()
    spiking = spoil(make_trainer(**LONG, max_rollbacks=0), {71: lambda weight: weight.mul_(1000)})
    loop.train(spiking, finite)
    assert faults(finite) == []
    broken = Kept()
    result = loop.train(spoil(make_trainer(**LONG, max_rollbacks=0), SPOILT), broken)
    assert result.diverged == "training diverged at step 50: loss nan, gradient norm nan"
    assert (faults(broken), max(broken.files)) == ([50], 50)


@pytest.mark.parametrize("rate", [1.0, 10.0])
def test_an_absurd_learning_rate_is_healed(make_trainer: Make, kept: Kept, rate: float) -> None:
    """It ends about where a sane one does: 2.6 nats."""
    result = loop.train(make_trainer(learning_rate=rate, max_steps=300, eval_every=100), kept)
    assert result.rollbacks in (1, 2, 3)
    assert result.best.val_loss is not None
    assert result.best.val_loss < 2.9


def test_poisoned_text_is_passed_over_and_named(
    tmp_path: Path, texts: Path, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    """One of four documents is noise: 400 characters that are rare elsewhere, or new."""
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in ("abc", "bisect", "fnmatch"):
        shutil.copy(texts / f"{name}.py", sources)
    chance = random.Random(1)
    noise = "".join(chance.choice("QXZJKVWYUPGHDFLBMNOTqzjxw~^$&@!?;") for _ in range(400))
    (sources / "b0junk.py").write_text(noise)
    settings = CorpusConfig(name="small", source=str(sources), split="tail", val=0.2, test=0.0)
    build_corpus(settings, str(tmp_path))
    config = {**SMALL, "global_batch_size": 1, "seq_len": 100, "learning_rate": 0.02}
    config |= {"max_steps": 128, "eval_every": 128, "snapshot_every": 16}
    corpus = open_corpus(str(tmp_path), "small")
    trainer = Trainer(TrainConfig(**config), corpus, torch.device("cpu"))
    result = loop.train(trainer, kept)
    (noisy,) = [part for part in Tracer(corpus).parts("train") if part.path == b"b0junk.py"]
    reading = [step for step in range(1, 129) if reads(trainer, step, noisy)]
    found = faults(kept)
    assert found
    assert set(found) <= set(reading)
    # The whole stretch is one rollback: its text is to blame, not the weights.
    assert (result.rollbacks, result.diverged) == (1, None)
    hardest = kept.rows[found[0] - 1]["read"]
    assert "b0junk.py" in [each["path"] for each in hardest]
    assert "hardest in what was read: " in caplog.text
    assert kept.rows[-1]["train_loss"] < 3.5


def reads(trainer: Trainer, step: int, part: Part) -> bool:
    """Whether a step of the first epoch reads a part of a document in its one lane."""
    start = trainer.plan.start(0, 0, step - 1)
    return start < part.end and part.offset <= start + trainer.plan.seq_len


def test_a_table_of_documents_that_is_gone_costs_the_names_alone(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(corpus: Corpus) -> None:
        raise KeyError("anchors")

    monkeypatch.setattr("pipeline.training.healer.Tracer", gone)
    kept = Kept()
    result = loop.train(spoil(make_trainer(**LONG), SPOILT), kept)
    assert (result.rollbacks, faults(kept), kept.rows[49]["read"]) == (2, [50, 71], [])


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_stopped_and_resumed_equals_uninterrupted_across_rollbacks(
    make_trainer: Make, tmp_path: Path, optimizer: str
) -> None:
    settings = {**LONG, "optimizer": optimizer, "dropout": 0.2}
    whole = spoil(make_trainer(**settings), SPOILT)
    kept = Kept()
    loop.train(whole, kept)
    assert faults(kept) == [50, 71]
    url = ""
    # Before a rollback, behind one, at one; between a snapshot and the rollback to it.
    for stop_at in (49, 50, 70, 71, 73, 0):
        part = spoil(make_trainer(**settings), SPOILT)
        some = Kept(stop_at)
        if url:
            part.load(url)
            some.stop_at = stop_at and stop_at - part.step
        loop.train(part, some)
        url = some.write(str(tmp_path), part.step)
    assert part.healing == whole.healing
    assert stable(rows(some.journals[120])) == stable(rows(kept.journals[120]))
    names = ("weights", "optimizer", "lanes", "snapshot")
    for name in (f"{name}.safetensors" for name in names):
        assert some.files[120][name] == kept.files[120][name], name


def test_a_checkpoint_without_a_snapshot_is_gone_on_from(
    make_trainer: Make, tmp_path: Path, kept: Kept
) -> None:
    """Such are those of older code."""
    trainer = make_trainer(**LONG, checkpoint_every=30)
    loop.train(trainer, kept)
    old = {name: data for name, data in kept.files[30].items() if name != "snapshot.safetensors"}
    trainer.healer.healing = type(trainer.healing)()
    state = old["state.json"].decode()
    start = state.index('  "healing": {')
    end = state.index('  "journal"')
    old["state.json"] = (state[:start] + state[end:]).encode()
    kept.files[30] = old
    again = spoil(make_trainer(**LONG), SPOILT)
    again.load(kept.write(str(tmp_path), 30))
    assert again.healer.snapshot is None
    later = Kept()
    assert loop.train(again, later).rollbacks == 2
    assert later.rows[:15] != []
    assert runs.complete(str(tmp_path)) != []


def _train(rank: int, url: str, folder: str, world_size: int) -> None:
    """A world whose last rank alone has a loss that is no number, once, and a spike."""
    join_world(rank, world_size, Path(folder, f"world-{world_size}"))
    config = TrainConfig(**{**SMALL, **LONG, "max_steps": 40})
    trainer = Trainer(config, open_version(url), torch.device("cpu"))
    if rank == world_size - 1:
        real = trainer._accumulate

        def accumulate(epoch: int, position: int) -> torch.Tensor:
            summed = real(epoch, position)
            factors = {30: math.nan, 36: 1000.0}
            return summed * factors.get(trainer.step + 1, 1.0)

        trainer._accumulate = accumulate  # type: ignore[method-assign]
    kept = Kept()
    loop.train(trainer, kept)
    torch.save(
        {
            "weights": dict(trainer.model.state_dict()),
            "healing": trainer.healing.to_json(),
            "losses": [row["train_loss"] for row in kept.rows],
            "named": [bool(row["read"]) for row in kept.rows if "fault" in row],
        },
        Path(folder, f"{world_size}-{rank}.pt"),
    )
    distributed.destroy_process_group()


def test_all_ranks_make_the_same_rollback(small_corpus: Corpus, tmp_path: Path) -> None:
    run_ranks(_train, 2, small_corpus.url, str(tmp_path), 2)
    first, second = [torch.load(tmp_path / f"2-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert first["healing"] == second["healing"]
    assert first["healing"]["rollbacks"] == 2
    assert first["losses"] == second["losses"]
    assert first["losses"][29] is None
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    assert (first["named"], second["named"]) == ([True, True], [False, False])  # rank 0 tells
