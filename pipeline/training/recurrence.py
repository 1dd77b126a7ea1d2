"""The LSTM recurrence on the CPU: one large product for the inputs of all steps, one small product a step, and
elementwise work that is prepared for all steps at once.

The same function as torch.nn.LSTM (Hochreiter and Schmidhuber 1997, with a forget gate, Gers et al. 2000), to rounding.
It is faster than the oneDNN kernel behind torch.nn.LSTM, which repacks weights and runs at about half the speed of the
processor's matrix product; benchmarks/train.py measures it. Gate order is torch.nn's: input, forget, cell, output.
"""

from __future__ import annotations

from typing import Any

import torch


def lstm(
    projected: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run one layer over time.

    projected (T, B, 4H): the inputs' product with the input weights, both biases added; it is overwritten. hidden and
    cell (B, H): the state before. weight (4H, H): the recurrent weights. Returns outputs (T, B, H) and the last cell
    state (B, H); the last hidden state is outputs[-1]. The state before gets no gradient: it is where backpropagation
    is truncated.
    """
    outputs, last = _LSTM.apply(projected, hidden, cell, weight)
    return outputs, last


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, projected: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        time, batch, gates4 = projected.shape
        size = gates4 // 4
        gates = projected.detach()  # overwritten: activated (T, B, 4H)
        hiddens = projected.new_empty(time + 1, batch, size)
        cells = projected.new_empty(time + 1, batch, size)
        squashed = projected.new_empty(time, batch, size)  # tanh of the cell state
        hiddens[0], cells[0] = hidden, cell
        recurrent = weight.t().contiguous()  # small products are up to twice as fast this way round
        sigmoids, candidates = gates[:, :, : 2 * size].unbind(0), gates[:, :, 2 * size : 3 * size].unbind(0)
        i, f, o = (gates[:, :, k * size : (k + 1) * size].unbind(0) for k in (0, 1, 3))
        every, h, c, s = gates.unbind(0), hiddens.unbind(0), cells.unbind(0), squashed.unbind(0)
        for t in range(time):
            every[t].addmm_(h[t], recurrent)
            sigmoids[t].sigmoid_()
            candidates[t].tanh_()
            o[t].sigmoid_()
            torch.mul(f[t], c[t], out=c[t + 1])
            c[t + 1].addcmul_(i[t], candidates[t])
            torch.tanh(c[t + 1], out=s[t])
            torch.mul(o[t], s[t], out=h[t + 1])
        ctx.save_for_backward(gates, hiddens, cells, squashed, weight)
        return hiddens[1:], cells[time]

    @staticmethod
    def backward(ctx: Any, d_outputs: torch.Tensor, d_cell: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gates, hiddens, cells, squashed, weight = ctx.saved_tensors
        time, batch, gates4 = gates.shape
        size = gates4 // 4
        i, f, g, o = gates.view(time, batch, 4, size).unbind(2)
        # What a step's gradients of output and cell are multiplied with, for all steps at once.
        to_cell = torch.addcmul(o, o * squashed, squashed, value=-1)  # o (1 - tanh(c)^2)
        to_gates = torch.empty_like(gates).view(time, batch, 4, size)
        torch.mul(g * i, 1 - i, out=to_gates[:, :, 0])
        torch.mul(cells[:-1] * f, 1 - f, out=to_gates[:, :, 1])
        torch.mul(i, 1 - g * g, out=to_gates[:, :, 2])
        torch.mul(squashed * o, 1 - o, out=to_gates[:, :, 3])
        d_gates = to_gates  # overwritten step by step
        first, last = d_gates[:, :, :3].unbind(0), d_gates[:, :, 3].unbind(0)
        every, forget, to_c = d_gates.view(time, batch, gates4).unbind(0), f.unbind(0), to_cell.unbind(0)
        d_out = d_outputs.unbind(0)
        d_c = d_cell.clone()
        d_c3 = d_c.unsqueeze(1)
        d_h = d_outputs[-1].clone()
        for t in range(time - 1, -1, -1):
            d_c.addcmul_(d_h, to_c[t])
            first[t].mul_(d_c3)
            last[t].mul_(d_h)
            d_c.mul_(forget[t])
            if t:
                d_h.copy_(d_out[t - 1]).addmm_(every[t], weight)
        flat = d_gates.view(time * batch, gates4)
        d_weight = flat.t() @ hiddens[:-1].reshape(time * batch, size)
        return flat.view(time, batch, gates4), None, None, d_weight
