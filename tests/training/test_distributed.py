"""Data parallelism: any number of ranks computes the same training, over real gloo process groups."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing

from pipeline.corpora.manifest import open_version
from pipeline.training.config import TrainConfig
from pipeline.training.trainer import Trainer

STEPS = 50


def _rank(rank: int, world: int, port: int, url: str, settings: dict[str, Any], out: str) -> None:
    torch.set_num_threads(1)
    if world > 1:
        distributed.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
        )
    trainer = Trainer(
        TrainConfig(**settings), open_version(url), torch.device("cpu"), torch.float64
    )
    losses = [trainer.train_step()[0]["train_loss"] for _ in range(STEPS)]
    val = trainer.evaluate()["val_loss"]
    lanes = trainer.group.gather_lanes(trainer.state, trainer.config.global_batch_size)
    if rank == 0:
        torch.save(
            {"losses": losses, "val": val, "lanes": lanes, "weights": trainer.model.state_dict()},
            out,
        )
    if world > 1:
        distributed.destroy_process_group()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(world: int, url: str, settings: dict[str, Any], out: Path) -> dict[str, Any]:
    multiprocessing.spawn(_rank, (world, free_port(), url, settings, str(out)), nprocs=world)
    return torch.load(out, weights_only=True)


def test_worlds_of_one_to_four_agree(corpus: Any, tmp_path: Path) -> None:
    """A hundred lanes, which three ranks share unequally; with dropout, in float64."""
    settings = {
        "corpus": "texts", "num_layers": 2, "hidden_size": 12, "global_batch_size": 100, "seq_len": 10, "dropout": 0.3,
        "optimizer": "adam", "learning_rate": 0.01, "max_steps": STEPS,
    }  # fmt: skip
    results = {
        world: run(world, corpus.url, settings, tmp_path / f"{world}.pt") for world in (1, 2, 3, 4)
    }
    one = results.pop(1)
    for world, other in results.items():
        torch.testing.assert_close(
            torch.tensor(other["losses"]),
            torch.tensor(one["losses"]),
            rtol=1e-8,
            atol=0,
            msg=str(world),
        )
        assert other["val"] == pytest.approx(one["val"], rel=1e-8)
        torch.testing.assert_close(other["lanes"], one["lanes"], rtol=1e-6, atol=1e-10)
        for name, value in one["weights"].items():
            torch.testing.assert_close(other["weights"][name], value, rtol=1e-6, atol=1e-9)
