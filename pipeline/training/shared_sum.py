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
_CACHE_LINE = 64  # bytes; a counter has one for itself, or ranks would slow each other's writes
_COUNTER_BYTES = 8
_SPINS = 2000  # looks at the counters before a waiting rank gives its core away
# As long as torch.distributed waits. Ray ends the group of a dead rank much sooner.
_TIMEOUT_S = 1800.0
_MAX_PATH = 256  # bytes of the file's path


class SharedSum:
    """Sums of `size` numbers over all ranks, in place. Every rank must make each call."""

    def __init__(
        self, rank: int, world_size: int, size: int, dtype: torch.dtype, memory: mmap.mmap
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.turn = 0
        lines = np.frombuffer(memory, np.int64, world_size * _CACHE_LINE // _COUNTER_BYTES)
        self.counters = lines[:: _CACHE_LINE // _COUNTER_BYTES]
        values = np.frombuffer(
            memory, _numpy(dtype), 2 * world_size * size, offset=world_size * _CACHE_LINE
        )
        self.slots = torch.from_numpy(values).view(2, world_size, size)

    def sum(self, tensor: torch.Tensor) -> None:
        """Replace a tensor (size,) by its sum over ranks."""
        self.turn += 1
        slots = self.slots[self.turn % 2]
        slots[self.rank].copy_(tensor)
        # Only then the counter: x86 shows other cores our writes in the order we make them.
        self.counters[self.rank] = self.turn
        self._wait()
        torch.add(slots[0], slots[1], out=tensor)
        for rank in range(2, self.world_size):
            tensor.add_(slots[rank])

    def _wait(self) -> None:
        """Until all ranks have written their slot of this turn."""
        spins = 0
        end = 0.0
        while int(self.counters.min()) < self.turn:
            spins += 1
            if spins <= _SPINS:
                continue
            os.sched_yield()
            # The clock starts here: the usual wait is over before it would be worth a look.
            end = end or time.monotonic() + _TIMEOUT_S
            if time.monotonic() > end:
                raise TimeoutError(
                    f"a rank did not come to sum {self.turn} within {_TIMEOUT_S:.0f} s"
                )


def shared_sum(rank: int, world_size: int, size: int, dtype: torch.dtype) -> SharedSum | None:
    """A SharedSum for all ranks of the default process group.

    None, for all of them, where they share no memory. Collective. The file is unlinked before this
    returns, so that nothing is left behind whatever happens to a rank.
    """
    # On other processors a counter may be seen before the numbers that it speaks of.
    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    slots_bytes = 2 * world_size * size * torch.empty(0, dtype=dtype).element_size()
    needed = world_size * _CACHE_LINE + slots_bytes
    path = ""
    memory = None
    if rank == 0:
        path, memory = _made(needed)
    path = _broadcast_path(path)
    if rank and path:
        memory = _opened(path, needed)
    has_memory = torch.tensor(int(memory is not None))
    distributed.all_reduce(has_memory, op=distributed.ReduceOp.MIN)
    if rank == 0 and path:
        os.unlink(path)
    if memory is None or not has_memory.item():
        return None
    return SharedSum(rank, world_size, size, dtype, memory)


def _broadcast_path(path: str) -> str:
    """Rank 0's path on every rank. As numbers, because gloo sends tensors alone."""
    letters = torch.zeros(_MAX_PATH, dtype=torch.int32)
    letters[: len(path)] = torch.tensor(list(path.encode()), dtype=torch.int32)
    distributed.broadcast(letters, 0)
    return bytes(letter for letter in letters.tolist() if letter).decode()


def _made(size: int) -> tuple[str, mmap.mmap | None]:
    """The path and mapping of a new file in shared memory; ("", None) where it cannot be had."""
    try:
        handle, path = tempfile.mkstemp(prefix="unreasonable-", dir=FOLDER)
    except OSError:
        return "", None
    try:
        # Its room is reserved: a write beyond what the machine has would kill the process.
        os.posix_fallocate(handle, 0, size)
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
