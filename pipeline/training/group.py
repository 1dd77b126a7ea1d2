"""The ranks of a run: what they tell each other over torch.distributed.

A run of one rank goes the same way and asks nobody.
"""

from __future__ import annotations

import torch
from torch import distributed

from pipeline.training.lanes import lane_range
from pipeline.training.shared_sum import SharedSum, shared_sum


class Group:
    """This process's place among the ranks.

    Every method is collective: a rank that does not call it leaves the others waiting.
    """

    def __init__(self) -> None:
        is_distributed = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if is_distributed else 0
        self.world_size = distributed.get_world_size() if is_distributed else 1
        # By the number of elements. None: these ranks share no memory, and need not try again.
        self._shared: dict[int, SharedSum | None] = {}

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, in place. A single rank calls it too: one code path, tested by itself."""
        if self.world_size > 1:
            distributed.all_reduce(tensor, op=distributed.ReduceOp.SUM)
        return tensor

    def sum_often(self, tensor: torch.Tensor) -> torch.Tensor:
        """As `sum`, for a tensor of one shape again and again.

        Goes through shared memory where all ranks have it.
        """
        if self.world_size == 1 or tensor.device.type != "cpu":
            return self.sum(tensor)
        size = tensor.numel()
        if size not in self._shared:
            self._shared[size] = shared_sum(self.rank, self.world_size, size, tensor.dtype)
        shared = self._shared[size]
        if shared is None:
            return self.sum(tensor)
        shared.sum(tensor)
        return tensor

    def gather_lanes(self, state: torch.Tensor, lanes: int) -> torch.Tensor:
        """Each rank's lane state (L, S, B of the rank, H) as all lanes' state (L, S, B, H).

        Every rank gets it. L layers, S tensors of state a layer, B lanes, H hidden.
        """
        if self.world_size == 1:
            return state
        layers, tensors, _, hidden = state.shape
        shape = (layers, tensors, lanes, hidden)
        whole = torch.zeros(shape, dtype=state.dtype, device=state.device)
        own = lane_range(self.rank, self.world_size, lanes)
        whole[:, :, own.start : own.stop] = state
        # Summed as integers, which keeps every bit: as floating point, -0 + 0 would be +0.
        integers = torch.int64 if whole.element_size() == 8 else torch.int32
        self.sum(whole.view(integers))
        return whole

    def first_text(self, text: str, device: torch.device, width: int = 2000) -> str:
        """The first rank's text that is not empty, on every rank; "" when all are.

        Cut to `width` bytes of UTF-8: all ranks must sum tensors of one size.
        """
        if self.world_size == 1:
            return text
        rows = torch.zeros((self.world_size, width), dtype=torch.int32, device=device)
        data = text.encode()[:width]
        rows[self.rank, : len(data)] = torch.tensor(list(data), dtype=torch.int32, device=device)
        self.sum(rows)
        for row in rows.tolist():
            # The cut may have gone through a character, whose first bytes are then left out.
            first = bytes(value for value in row if value).decode("utf-8", "ignore")
            if first:
                return first
        return ""
