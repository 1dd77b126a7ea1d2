"""Sums over ranks of one machine through shared memory: on a loopback socket the same bytes take
several times as long.

Every rank writes its numbers into its own slot and adds all slots up itself, in the order of the
ranks: one fixed order of summation, the same result everywhere. Two sets of slots take turns, so
that nobody overwrites what another still reads.
"""

from __future__ import annotations

import mmap
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import distributed

FOLDER = Path("/dev/shm")
_SPINS = 2000  # glances at a neighbour's counter before giving the core away
_PATIENCE_S = (
    1800.0  # as torch.distributed's own time-out; Ray ends the group of a dead rank much sooner
)


class SharedSum:
    """Sums of `size` numbers over all ranks, in place. Every rank must make each call."""

    def __init__(
        self, rank: int, world_size: int, size: int, dtype: torch.dtype, memory: mmap.mmap
    ) -> None:
        self.rank, self.world_size, self.turn = rank, world_size, 0
        self.counters = np.frombuffer(memory, np.int64, world_size * 8)[::8]  # a cache line each
        values = np.frombuffer(memory, _numpy(dtype), 2 * world_size * size, offset=world_size * 64)
        self.slots = torch.from_numpy(values).view(2, world_size, size)

    def sum(self, tensor: torch.Tensor) -> None:
        """Replace a tensor (size,) by its sum over ranks."""
        self.turn += 1
        slots = self.slots[self.turn % 2]
        slots[self.rank].copy_(tensor)
        self.counters[self.rank] = self.turn
        self._wait()
        torch.add(slots[0], slots[1], out=tensor)
        for rank in range(2, self.world_size):
            tensor.add_(slots[rank])

    def _wait(self) -> None:
        """Until all ranks have written their slot of this turn."""
        spins, end = 0, 0.0
        while int(self.counters.min()) < self.turn:
            spins += 1
            if spins > _SPINS:
                os.sched_yield()
                end = end or time.monotonic() + _PATIENCE_S
                if time.monotonic() > end:
                    raise TimeoutError(
                        f"a rank did not come to sum {self.turn} within {_PATIENCE_S:.0f} s"
                    )


def shared_sum(rank: int, world_size: int, size: int, dtype: torch.dtype) -> SharedSum | None:
    """A SharedSum for all ranks of the default process group, or None (for all of them) where they
    share no memory.

    Collective. The file is unlinked before this returns, so that nothing is left behind whatever
    happens to a rank.
    """
    if platform.machine() not in (
        "x86_64",
        "AMD64",
    ):  # elsewhere a counter may be seen before what it counts
        return None
    needed = world_size * 64 + 2 * world_size * size * torch.empty(0, dtype=dtype).element_size()
    path, memory = _made(needed) if rank == 0 else ("", None)
    name = torch.zeros(256, dtype=torch.int32)
    name[: len(path)] = torch.tensor(list(path.encode()), dtype=torch.int32)
    distributed.broadcast(name, 0)
    path = bytes(value for value in name.tolist() if value).decode()
    if rank and path:
        memory = _opened(path, needed)
    everywhere = torch.tensor(int(memory is not None))
    distributed.all_reduce(everywhere, op=distributed.ReduceOp.MIN)
    if rank == 0 and path:
        os.unlink(path)
    return (
        SharedSum(rank, world_size, size, dtype, memory)
        if memory is not None and everywhere.item()
        else None
    )


def _made(size: int) -> tuple[str, mmap.mmap | None]:
    """A new file in shared memory, its room reserved, and its mapping; ("", None) where that cannot
    be had.
    """
    try:
        handle, path = tempfile.mkstemp(prefix="unreasonable-", dir=FOLDER)
    except OSError:
        return "", None
    try:
        os.posix_fallocate(
            handle, 0, size
        )  # or the first write beyond what there is would kill the process
        return path, mmap.mmap(handle, size)
    except OSError:
        os.unlink(path)
        return "", None
    finally:
        os.close(handle)


def _opened(path: str, size: int) -> mmap.mmap | None:
    """Rank 0's file, if this rank runs on its machine."""
    try:
        with open(path, "r+b") as file:
            return mmap.mmap(file.fileno(), size)
    except (OSError, ValueError):
        return None


def _numpy(dtype: torch.dtype) -> np.dtype:
    return torch.empty(0, dtype=dtype).numpy().dtype
