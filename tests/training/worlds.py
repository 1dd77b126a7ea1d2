"""Ranks in processes of their own, for tests of what ranks tell each other over gloo."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing import start_processes

# Ranks are forked from a process that has imported torch once, and what its optimisers import when
# they are made: each rank would take seconds for that.
multiprocessing.set_forkserver_preload(["pipeline.training.trainer", "torch._dynamo"])


def run_ranks(function: Callable[..., None], count: int, *arguments: object) -> None:
    """Call function(rank, *arguments) in `count` processes; raises what one of them raises."""
    start_processes(function, arguments, nprocs=count, start_method="forkserver")


def join_world(rank: int, world_size: int, meeting_point: Path) -> None:
    """Make this process a rank of a world, which meets at a file that is not there yet."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=world_size
    )
