"""A fork goes on from its parent's newest whole checkpoint with other settings, and names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs
from pipeline.errors import InputError
from pipeline.runs import checkpoint_name
from pipeline.training import loop, preflight
from pipeline.training.checkpoint import Best
from pipeline.training.config import TrainConfig
from pipeline.training.forking import fork_run
from pipeline.training.journal import rows
from pipeline.training.trainer import Trainer
from tests.training.conftest import SMALL, Kept

Make = Callable[..., Trainer]


@pytest.fixture
def parent(make_trainer: Make, tmp_path: Path) -> str:
    """A run with checkpoints of steps 10 and 20, the best at 10."""
    kept = Kept()
    trainer = make_trainer(learning_rate=0.3)
    loop.train(trainer, kept)
    url = str(tmp_path / "parent")
    for step in kept.files:
        kept.write(url, step)
    return url


def test_a_fork_goes_on_with_another_learning_rate(
    parent: str, make_trainer: Make, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"learning_rate": 0.001, "fork": "parent", "max_steps": 25}
    fork = str(tmp_path / "fork")
    fork_run(parent, fork, TrainConfig(**{**SMALL, **changes}))
    assert runs.complete(fork) == [checkpoint_name(20)]
    assert runs.damage(f"{fork}/{checkpoint_name(20)}") == ""
    trainer = make_trainer(**changes)
    trainer.load(f"{fork}/{checkpoint_name(20)}")
    assert (trainer.step, trainer.stale) == (20, 0)
    state = runs.read_state(f"{fork}/{checkpoint_name(20)}")
    assert trainer.best == Best(20, state["val_loss"])
    assert state["config"]["fork"] == "parent"
    kept = Kept()
    loop.train(trainer, kept)
    written = rows(kept.journals[25])
    assert [row["step"] for row in written] == list(range(1, 26))
    assert [row["learning_rate"] for row in written[19:21]] == [0.3, 0.001]
    # What its models say of their training names the parent.
    assert json.loads(kept.files[25]["config.json"])["train"]["fork"] == "parent"
    # The parent is as it was.
    assert len(runs.complete(parent)) == 2


def test_a_fork_passes_over_a_damaged_checkpoint_and_leaves_it(
    parent: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest = Path(parent, checkpoint_name(20))
    (newest / "lanes.safetensors").write_bytes(b"")
    config = TrainConfig(**{**SMALL, "fork": "parent"})
    fork_run(parent, str(tmp_path / "fork"), config)
    assert runs.complete(str(tmp_path / "fork")) == [checkpoint_name(10)]
    assert "damaged checkpoint" in caplog.text
    assert len(runs.complete(parent)) == 2
    (Path(parent, checkpoint_name(10)) / "state.json").unlink()
    with pytest.raises(InputError, match="has no whole checkpoint to fork from"):
        fork_run(parent, str(tmp_path / "another"), config)


def test_a_fork_keeps_its_parents_model_and_batches() -> None:
    before = dict(vars(TrainConfig(**SMALL)))
    for changes in ({"learning_rate": 1.0}, {"schedule": "cosine"}, {"max_grad_norm": 1.0}):
        preflight.check_forkable(before, TrainConfig(**{**SMALL, **changes, "fork": "parent"}))
    with pytest.raises(InputError, match=r"a fork keeps .* had --hidden_size 16, --seq_len 20"):
        preflight.check_forkable(before, TrainConfig(**{**SMALL, "hidden_size": 8, "seq_len": 9}))
