"""A snapshot gives back what was, as often as it is asked, also from a file."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pipeline.errors import DamagedError
from pipeline.training.snapshot import Snapshot
from pipeline.training.trainer import Trainer

Make = Callable[..., Trainer]


def taken(trainer: Trainer) -> Snapshot:
    return Snapshot.of(trainer.model, trainer.optimizer, trainer.names)


def equal(one: Snapshot, other: Snapshot) -> bool:
    pairs = ((one.weights, other.weights), (one.optimizer, other.optimizer))
    return all(
        mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
        for mine, theirs in pairs
    )


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("steps", [0, 3])
def test_what_was_comes_back_again_and_again(
    make_trainer: Make, optimizer: str, steps: int
) -> None:
    trainer = make_trainer(optimizer=optimizer)
    for _ in range(steps):
        trainer.train_step()
    snapshot = taken(trainer)
    stored = Snapshot.from_bytes(snapshot.to_bytes(), "here", torch.device("cpu"))
    assert equal(stored, snapshot)
    assert bool(snapshot.optimizer) == (steps > 0)
    for kept in (snapshot, snapshot, stored):
        trainer.train_step()
        assert not equal(taken(trainer), stored)
        kept.restore(trainer.model, trainer.optimizer, trainer.names)
        assert equal(taken(trainer), stored)


def test_gradients_stay_views_of_the_buffer(make_trainer: Make) -> None:
    trainer = make_trainer()
    taken(trainer).restore(trainer.model, trainer.optimizer, trainer.names)
    trainer.flat.gradient.fill_(2.0)
    assert all((parameter.grad == 2).all() for parameter in trainer.model.parameters())


def test_other_bytes_are_refused_by_name() -> None:
    with pytest.raises(DamagedError, match="run/checkpoint-1 is not a safetensors file"):
        Snapshot.from_bytes(b"\x80\x04", "run/checkpoint-1", torch.device("cpu"))
