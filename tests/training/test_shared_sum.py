"""Sums through shared memory are torch.distributed's, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing

from pipeline.training import shared_sum as module
from pipeline.training.group import Group
from tests.training.test_distributed import free_port


def _rank(rank: int, world: int, port: int, out: str, shared: bool) -> None:
    torch.set_num_threads(1)
    if not shared and rank == world - 1:
        module.FOLDER = Path("/nowhere")  # one rank cannot see the others' memory
        module._opened = lambda path, size: None
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    group = Group()
    for turn in range(30):
        ours = torch.arange(1000.0) * (rank + 1) + turn
        theirs = ours.clone()
        group.sum_often(ours)
        group.sum(theirs)
        assert torch.equal(ours, theirs), turn  # whole numbers: exact in any order
    used: Any = group._shared[1000]
    assert (used is not None) == shared
    Path(out, str(rank)).touch()
    distributed.destroy_process_group()


@pytest.mark.parametrize(("world", "shared"), [(3, True), (2, False)])
def test_every_rank_gets_the_sum(tmp_path: Path, world: int, shared: bool) -> None:
    before = set(Path("/dev/shm").glob("unreasonable-*"))
    multiprocessing.spawn(_rank, (world, free_port(), str(tmp_path), shared), nprocs=world)
    assert len(list(tmp_path.iterdir())) == world
    assert set(Path("/dev/shm").glob("unreasonable-*")) == before
