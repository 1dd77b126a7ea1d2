"""Data parallelism: any number of ranks computes the same training, over real gloo groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from pipeline.corpora.manifest import Corpus, open_version
from pipeline.training.config import TrainConfig
from pipeline.training.trainer import Trainer, Votes
from tests.training.worlds import join_world, run_ranks

STEPS = 20
LANES = 100  # which three ranks share unequally
SETTINGS: dict[str, Any] = {
    "corpus": "small",
    "num_layers": 2,
    "hidden_size": 8,
    "global_batch_size": LANES,
    "seq_len": 6,
    "dropout": 0.3,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "max_steps": STEPS,
}


def _train(url: str, rank: int) -> dict[str, Any]:
    """What a rank has after some steps. The last rank alone votes, for one thing a step."""
    trainer = Trainer(
        TrainConfig(**SETTINGS), open_version(url), torch.device("cpu"), torch.float64
    )
    group = trainer.group
    is_last = group.rank == group.world_size - 1
    wishes = [Votes(save=step % 2 == 0, look=step % 3 == 0) for step in range(STEPS)]
    losses = []
    for wish in wishes:
        row, agreed = trainer.train_step(wish if is_last else Votes())
        assert agreed == wish
        losses.append(row["train_loss"])
    val_loss = trainer.evaluate()["val_loss"]
    lanes = group.gather_lanes(trainer.state, LANES)
    files = trainer.files(evaluated=True)
    assert (files is None) == (rank > 0)
    return {
        "losses": torch.tensor(losses, dtype=torch.float64),
        "val_loss": torch.tensor(val_loss, dtype=torch.float64),
        "lanes": lanes,
        "weights": dict(trainer.model.state_dict()),
    }


def _worlds(rank: int, url: str, folder: str) -> None:
    """Worlds of two to four ranks, one after another: a rank that is too many sits a world out."""
    for world_size in (2, 3, 4):
        if rank < world_size:
            join_world(rank, world_size, Path(folder, f"world-{world_size}"))
            torch.save(_train(url, rank), Path(folder, f"{world_size}-{rank}.pt"))
            distributed.destroy_process_group()


def test_worlds_of_one_to_four_agree(small_corpus: Corpus, tmp_path: Path) -> None:
    """With dropout, in float64."""
    alone = _train(small_corpus.url, 0)
    assert alone["losses"][-1] < alone["losses"][0]
    run_ranks(_worlds, 4, small_corpus.url, str(tmp_path))
    for world_size in (2, 3, 4):
        ranks = [
            torch.load(tmp_path / f"{world_size}-{rank}.pt", weights_only=True)
            for rank in range(world_size)
        ]
        for rank in ranks[1:]:  # what every rank has is the same on all, bit for bit
            assert torch.equal(rank["losses"], ranks[0]["losses"])
            assert torch.equal(rank["val_loss"], ranks[0]["val_loss"])
            assert torch.equal(rank["lanes"], ranks[0]["lanes"])
            for name, value in rank["weights"].items():
                assert torch.equal(value, ranks[0]["weights"][name]), name
        shared = ranks[0]
        torch.testing.assert_close(shared["losses"], alone["losses"], rtol=1e-8, atol=0)
        assert shared["val_loss"].item() == pytest.approx(alone["val_loss"].item(), rel=1e-8)
        torch.testing.assert_close(shared["lanes"], alone["lanes"], rtol=1e-6, atol=1e-10)
        for name, value in alone["weights"].items():
            torch.testing.assert_close(shared["weights"][name], value, rtol=1e-6, atol=1e-9)
