"""The LSTM recurrence on the CPU: one large product for the inputs of all steps, one small product
a step, and elementwise work on what is still in the cache.

The same function as torch.nn.LSTM (Hochreiter and Schmidhuber 1997, with a forget gate, Gers et al.
2000), to rounding. The oneDNN kernel behind torch.nn.LSTM runs at about half the speed of the
processor's matrix product, and part of its time goes into fresh memory; here buffers are kept.
benchmarks/train.py measures it. Gate order is torch.nn's: input, forget, cell, output.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pipeline.compiled_code import njit


class Workspace:
    """One layer's buffers, kept from step to step: what is used again costs no page faults.

    A buffer belongs to one forward pass until its backward pass has been used up; so one workspace
    serves one pass at a time.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}

    def take(self, name: str, like: torch.Tensor, *shape: int) -> torch.Tensor:
        """A buffer of a shape, with the last content it had; fresh when the shape is new."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape != shape or buffer.dtype != like.dtype:
            buffer = self._buffers[name] = like.new_empty(shape)
        return buffer


def lstm(
    projected: torch.Tensor,
    hidden: torch.Tensor,
    cell: torch.Tensor,
    weight: torch.Tensor,
    workspace: Workspace,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run one layer over time.

    projected (T, B, 4H): the inputs' product with the input weights, both biases added; it is
    overwritten. hidden and cell (B, H): the state before. weight (4H, H): the recurrent weights.
    Returns outputs (T, B, H) and the last cell state (B, H), both in the workspace; the last hidden
    state is outputs[-1]. The state before gets no gradient: it is where backpropagation is
    truncated.
    """
    outputs, last = _LSTM.apply(projected, hidden, cell, weight, workspace)
    return outputs, last


def gather(table: torch.Tensor, tokens: torch.Tensor, workspace: Workspace) -> torch.Tensor:
    """Rows of a table (V, G) by token (T, B), in the workspace: (T, B, G). torch's embedding,
    without fresh memory.
    """
    rows: torch.Tensor = _Gather.apply(table, tokens, workspace)
    return rows


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, table: torch.Tensor, tokens: torch.Tensor, workspace: Workspace
    ) -> torch.Tensor:
        ctx.tokens = tokens
        ctx.symbols = len(table)
        rows = workspace.take("rows", table, tokens.numel(), table.shape[1])
        torch.index_select(table, 0, tokens.flatten(), out=rows)
        return rows.view(*tokens.shape, -1)

    @staticmethod
    def backward(ctx: Any, d_rows: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (
            torch.ops.aten.embedding_dense_backward(d_rows, ctx.tokens, ctx.symbols, -1, False),
            None,
            None,
        )


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        projected: torch.Tensor,
        hidden: torch.Tensor,
        cell: torch.Tensor,
        weight: torch.Tensor,
        workspace: Workspace,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        time, batch, gates4 = projected.shape
        size = gates4 // 4
        gates = projected.detach()  # overwritten: activated (T, B, 4H)
        hiddens = workspace.take("hiddens", projected, time + 1, batch, size)
        cells = workspace.take("cells", projected, time + 1, batch, size)
        # tanh of the cell state
        squashed = workspace.take("squashed", projected, time, batch, size)
        recurrent = workspace.take("recurrent", projected, size, gates4)
        recurrent.copy_(weight.t())  # small products are up to twice as fast this way round
        # tanh(x) = 2 sigmoid(2x) - 1: with the cell gate's inputs doubled, one sigmoid serves all
        # four gates.
        recurrent[:, 2 * size : 3 * size].mul_(2)
        gates[:, :, 2 * size : 3 * size].mul_(2)
        hiddens[0] = hidden
        cells[0] = cell
        # Views by step, made once: an index in the loop would be a call into torch each time.
        output_gate_of = gates[:, :, 3 * size :].unbind(0)
        gates_of = gates.unbind(0)
        hidden_of = hiddens.unbind(0)
        cell_of = cells.unbind(0)
        squashed_of = squashed.unbind(0)
        gates_array = gates.numpy()
        cells_array = cells.numpy()
        for t in range(time):
            gates_of[t].addmm_(hidden_of[t], recurrent).sigmoid_()
            _step_cell(gates_array, cells_array, t)
            torch.tanh(cell_of[t + 1], out=squashed_of[t])
            torch.mul(output_gate_of[t], squashed_of[t], out=hidden_of[t + 1])
        ctx.save_for_backward(weight)
        ctx.kept = (gates, hiddens, cells, squashed, workspace)
        return hiddens[1:], cells[time]

    @staticmethod
    def backward(
        ctx: Any, d_outputs: torch.Tensor, d_cell: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        gates, hiddens, cells, squashed, workspace = ctx.kept
        time, batch, gates4 = gates.shape
        size = gates4 // 4
        d_gates = workspace.take("d_gates", gates, time, batch, gates4)
        # Both change from step to step, in place.
        d_c = d_cell.clone()
        d_h = d_outputs[-1].clone()
        # The same memory for numba, which reads no tensors.
        gates_array = gates.detach().numpy()
        cells_array = cells.detach().numpy()
        squashed_array = squashed.detach().numpy()
        d_h_array = d_h.detach().numpy()
        d_c_array = d_c.detach().numpy()
        d_gates_array = d_gates.detach().numpy()
        d_gates_of = d_gates.unbind(0)
        d_output_of = d_outputs.unbind(0)
        for t in range(time - 1, -1, -1):
            _step_backward(
                gates_array, cells_array, squashed_array, d_h_array, d_c_array, d_gates_array, t
            )
            if t:
                d_h.copy_(d_output_of[t - 1]).addmm_(d_gates_of[t], weight)
        # The weight's gradient is one large product over all steps, not a small one each.
        flat = d_gates.view(time * batch, gates4)
        before = hiddens[:-1].view(time * batch, size)
        return d_gates, None, None, flat.t() @ before, None


@njit(fastmath=True, error_model="numpy")
def _step_cell(gates: np.ndarray, cells: np.ndarray, t: int) -> None:
    """From step t's sigmoids: the cell gate itself, and the cell state after the step."""
    batch, size = cells.shape[1:]
    for b in range(batch):
        i = gates[t, b, :size]
        f = gates[t, b, size : 2 * size]
        g = gates[t, b, 2 * size : 3 * size]
        before = cells[t, b]
        after = cells[t + 1, b]
        for k in range(size):
            g[k] = 2 * g[k] - 1
            after[k] = f[k] * before[k] + i[k] * g[k]


@njit(fastmath=True, error_model="numpy")
def _step_backward(
    gates: np.ndarray,
    cells: np.ndarray,
    squashed: np.ndarray,
    d_hidden: np.ndarray,
    d_cell: np.ndarray,
    d_gates: np.ndarray,
    t: int,
) -> None:
    """The elementwise part of step t, in one pass: fills d_gates[t], and turns d_cell into the
    gradient before the step.
    """
    batch, size = d_cell.shape
    for b in range(batch):
        i = gates[t, b, :size]
        f = gates[t, b, size : 2 * size]
        g = gates[t, b, 2 * size : 3 * size]
        o = gates[t, b, 3 * size :]
        d_i = d_gates[t, b, :size]
        d_f = d_gates[t, b, size : 2 * size]
        d_g = d_gates[t, b, 2 * size : 3 * size]
        d_o = d_gates[t, b, 3 * size :]
        for k in range(size):
            d_h = d_hidden[b, k]
            s = squashed[t, b, k]
            d_c = d_cell[b, k] + d_h * o[k] * (1 - s * s)
            d_i[k] = d_c * g[k] * i[k] * (1 - i[k])
            d_f[k] = d_c * cells[t, b, k] * f[k] * (1 - f[k])
            d_g[k] = d_c * i[k] * (1 - g[k] * g[k])
            d_o[k] = d_h * s * o[k] * (1 - o[k])
            d_cell[b, k] = d_c * f[k]
