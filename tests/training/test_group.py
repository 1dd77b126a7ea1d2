"""What ranks tell each other, with ranks as threads; over real gloo in test_shared_sum.py."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import distributed

from pipeline.training import group as module
from pipeline.training.group import Group

CPU = torch.device("cpu")


class Threads:
    """torch.distributed's sum for ranks that are threads of this process."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.barrier = Barrier(world_size)
        self.given: list[torch.Tensor] = []
        self.calls = 0

    def all_reduce(self, tensor: torch.Tensor, op: Any) -> None:
        assert op == distributed.ReduceOp.SUM
        self.given.append(tensor.clone())
        self.barrier.wait()
        total = torch.stack(self.given).sum(0, dtype=tensor.dtype)
        if self.barrier.wait() == 0:
            self.given.clear()
            self.calls += 1
        self.barrier.wait()
        tensor.copy_(total)

    def run(self, call: Callable[[Group], Any]) -> list[Any]:
        """What `call` returns on each rank."""
        groups = []
        for rank in range(self.world_size):
            group = Group()
            group.rank = rank
            group.world_size = self.world_size
            groups.append(group)
        with ThreadPoolExecutor(self.world_size) as pool:
            return list(pool.map(call, groups))


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Threads:
    threads = Threads(3)
    monkeypatch.setattr(distributed, "all_reduce", threads.all_reduce)
    return threads


def test_one_process_is_a_group_of_its_own() -> None:
    group = Group()
    assert (group.rank, group.world_size, group.leads) == (0, 1, True)
    for total in (group.sum, group.sum_often):
        tensor = torch.tensor([1.0, 2.0])
        assert total(tensor) is tensor
        assert tensor.tolist() == [1.0, 2.0]
    state = torch.ones(1, 2, 3, 4)
    assert group.gather_lanes(state, 3) is state
    assert group.first_text("refused", CPU) == "refused"
    assert group.first_text("", CPU) == ""


def test_a_process_of_a_world_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 5)
    group = Group()
    assert (group.rank, group.world_size, group.leads) == (2, 5, False)


def test_a_sum_is_over_all_ranks_and_in_place(three: Threads) -> None:
    def call(group: Group) -> tuple[bool, list[float]]:
        tensor = torch.tensor([1.0, 10.0 * group.rank])
        return group.sum(tensor) is tensor, tensor.tolist()

    assert three.run(call) == [(True, [3.0, 30.0])] * 3


class Doubled:
    """A shared sum that doubles."""

    def sum(self, tensor: torch.Tensor) -> None:
        tensor.mul_(2)


def test_a_sum_that_comes_often_is_made_in_shared_memory_once_a_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def shared_sum(rank: int, world_size: int, size: int, dtype: torch.dtype) -> Doubled:
        asked.append((rank, world_size, size, dtype))
        return Doubled()

    monkeypatch.setattr(module, "shared_sum", shared_sum)
    group = Group()
    group.rank = 1
    group.world_size = 3
    for values in ([1.0, 2.0], [5.0, 6.0], [1.0, 2.0, 3.0]):
        tensor = torch.tensor(values, dtype=torch.float64)
        assert group.sum_often(tensor) is tensor
        assert tensor.tolist() == [2 * value for value in values]
    assert asked == [(1, 3, 2, torch.float64), (1, 3, 3, torch.float64)]


def test_without_shared_memory_a_sum_that_comes_often_is_any_sum(
    three: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def none(rank: int, *_: Any) -> None:
        asked.append(rank)

    monkeypatch.setattr(module, "shared_sum", none)

    def call(group: Group) -> list[float]:
        for _ in range(2):
            tensor = torch.tensor([group.rank + 1.0])
            assert group.sum_often(tensor) is tensor
        return tensor.tolist()

    assert three.run(call) == [[6.0]] * 3
    assert sorted(asked) == [0, 1, 2]  # each asks once, not at every sum


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lanes_are_gathered_bit_for_bit(three: Threads, dtype: torch.dtype) -> None:
    whole = torch.randn(2, 2, 7, 3, dtype=dtype)
    whole[0, 0, 0, 0] = -0.0  # 0 + -0 is 0, but not as bits
    whole[1, 1, 6, 2] = float("inf")
    shares = [whole[:, :, 0:2], whole[:, :, 2:4], whole[:, :, 4:7]]

    def call(group: Group) -> torch.Tensor:
        return group.gather_lanes(shares[group.rank], 7)

    integers = torch.int32 if dtype == torch.float32 else torch.int64
    for gathered in three.run(call):
        assert gathered.dtype == dtype
        assert torch.equal(gathered.view(integers), whole.view(integers))


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        (["", "", ""], ""),
        (["a", "b", "c"], "a"),
        (["", "zwei", "c"], "zwei"),
        (["", "", "drei"], "drei"),
        (["", "grün", ""], "grün"),
    ],
)
def test_the_first_text_that_is_not_empty_is_told_to_all(
    three: Threads, texts: list[str], first: str
) -> None:
    assert three.run(lambda group: group.first_text(texts[group.rank], CPU)) == [first] * 3


def test_a_long_text_is_cut_between_characters(three: Threads) -> None:
    texts = ["x" * 1999 + "ü", "", ""]
    assert three.run(lambda group: group.first_text(texts[group.rank], CPU)) == ["x" * 1999] * 3
    short = three.run(lambda group: group.first_text("abcdef", CPU, width=4))
    assert short == ["abcd"] * 3
