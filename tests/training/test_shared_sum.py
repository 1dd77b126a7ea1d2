"""Sums through shared memory are torch.distributed's, and leave nothing behind."""

from __future__ import annotations

import mmap
import platform
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torch import distributed

from pipeline.training import shared_sum as module
from pipeline.training.group import Group
from pipeline.training.lanes import lane_range
from pipeline.training.shared_sum import SharedSum, shared_sum
from tests.training.worlds import join_world, run_ranks

WORLD = 3
SIZE = 1000


def _sums_agree(group: Group) -> None:
    for turn in range(30):
        ours = torch.arange(float(SIZE)) * (group.rank + 1) + turn
        theirs = ours.clone()
        group.sum_often(ours)
        group.sum(theirs)
        assert torch.equal(ours, theirs), turn  # whole numbers: exact in any order


def _rank(rank: int, folder: str) -> None:
    join_world(rank, WORLD, Path(folder, "world"))
    # What a group tells over real gloo, besides: lanes and texts.
    group = Group()
    own = lane_range(rank, WORLD, 4)
    state = torch.tensor([[[[float(lane), -0.0] for lane in own]]])  # (1, 1, B, 2)
    lanes = group.gather_lanes(state, 4)
    assert lanes[0, 0, :, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert torch.signbit(lanes[0, 0, :, 1]).all()
    text = "" if rank == 0 else f"rank {rank}: ü"
    assert group.first_text(text, torch.device("cpu")) == "rank 1: ü"

    _sums_agree(group)
    assert isinstance(group._shared[SIZE], SharedSum)

    if rank == WORLD - 1:  # one rank cannot see the others' memory
        module.FOLDER = Path("/nowhere")
        module._opened = lambda path, size: None
    apart = Group()
    _sums_agree(apart)
    assert apart._shared == {SIZE: None}

    if rank == 0:  # no room in shared memory
        module.FOLDER = Path("/nowhere")
    full = Group()
    _sums_agree(full)
    assert full._shared == {SIZE: None}
    Path(folder, str(rank)).touch()
    distributed.destroy_process_group()


def test_every_rank_gets_the_sum_with_shared_memory_and_without(tmp_path: Path) -> None:
    before = set(Path("/dev/shm").glob("unreasonable-*"))
    run_ranks(_rank, WORLD, str(tmp_path))
    ranks_done = {path.name for path in tmp_path.iterdir()} - {"world"}
    assert ranks_done == {"0", "1", "2"}
    assert set(Path("/dev/shm").glob("unreasonable-*")) == before


def _of_one_process(dtype: torch.dtype, size: int = 3) -> list[SharedSum]:
    """The SharedSums of three ranks over one piece of memory."""
    memory = mmap.mmap(-1, 3 * 64 + 2 * 3 * size * 8)
    return [SharedSum(rank, 3, size, dtype, memory) for rank in range(3)]


def _in_threads(call: Callable[[int], None]) -> None:
    threads = [Thread(target=call, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_are_added_in_the_order_of_the_ranks(dtype: torch.dtype) -> None:
    sums = _of_one_process(dtype)
    large = 2.0**24 if dtype == torch.float32 else 2.0**53
    # (large + 1) + 1 loses both ones, in any other order large + 2 would come out.
    values = [[large, 1.0, -2.0], [1.0, 10.0, 0.5], [1.0, 100.0, 0.25]]
    for _ in range(5):
        tensors = [torch.tensor(row, dtype=dtype) for row in values]
        _in_threads(lambda rank: sums[rank].sum(tensors[rank]))  # noqa: B023
        for tensor in tensors:
            assert tensor.tolist() == [large, 111.0, -1.25]


def test_a_counter_has_a_cache_line_for_itself() -> None:
    memory = mmap.mmap(-1, 4096)
    one = SharedSum(1, 2, 4, torch.float32, memory)
    one.counters[:] = 7
    words = np.frombuffer(memory, np.int64)
    assert words[[0, 8]].tolist() == [7, 7]
    assert words.sum() == 14  # and the slots, from byte 128 on, are all zero
    one.slots[1, 1, 3] = 1.0
    assert np.frombuffer(memory, np.float32)[128 // 4 + 4 * 3 + 3] == 1.0


def test_a_rank_that_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.0)
    (one, *_) = _of_one_process(torch.float32)
    with pytest.raises(TimeoutError, match="a rank did not come to sum 1 within 0 s"):
        one.sum(torch.zeros(3))


def test_other_processors_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert shared_sum(0, 2, 10, torch.float32) is None  # and asks nobody


def test_a_file_has_its_room_or_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    path, memory = module._made(5000)
    assert memory is not None
    assert (len(memory), Path(path).stat().st_size, Path(path).parent) == (5000, 5000, tmp_path)
    opened = module._opened(path, 5000)
    assert opened is not None
    memory[4999] = 5
    assert opened[4999] == 5
    assert module._opened(str(tmp_path / "nothing"), 5000) is None
    assert module._opened(path, 5001) is None

    def no_room(handle: int, start: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", no_room)
    before = set(tmp_path.iterdir())
    assert module._made(5000) == ("", None)
    assert set(tmp_path.iterdir()) == before
    monkeypatch.setattr(module, "FOLDER", tmp_path / "nothing")
    assert module._made(5000) == ("", None)
