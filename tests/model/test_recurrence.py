"""Our LSTM recurrence is torch.nn's, forwards and backwards."""

from __future__ import annotations

import pytest
import torch

from pipeline.model.recurrence import Workspace, lstm


@pytest.mark.parametrize(("time", "batch", "size"), [(1, 1, 1), (7, 3, 5), (20, 16, 32)])
def test_outputs_and_gradients_are_torchs(time: int, batch: int, size: int) -> None:
    generator = torch.Generator().manual_seed(3)
    layer = torch.nn.LSTM(size + 1, size).double()
    inputs = torch.randn(
        time, batch, size + 1, generator=generator, dtype=torch.float64, requires_grad=True
    )
    state = torch.randn(2, batch, size, generator=generator, dtype=torch.float64)
    wanted, (_, cell) = layer(inputs, (state[0:1], state[1:2]))
    weighting = torch.randn(time, batch, size, generator=generator, dtype=torch.float64)
    names = [inputs, *layer.parameters()]
    expected = torch.autograd.grad((wanted * weighting).sum() + cell.pow(2).sum(), names)
    projected = torch.nn.functional.linear(
        inputs, layer.weight_ih_l0, layer.bias_ih_l0 + layer.bias_hh_l0
    )
    outputs, last = lstm(projected, state[0], state[1], layer.weight_hh_l0, Workspace())
    torch.testing.assert_close(outputs, wanted)
    torch.testing.assert_close(last, cell[0])
    found = torch.autograd.grad((outputs * weighting).sum() + last.pow(2).sum(), names)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(4)
    projected = torch.randn(4, 2, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(12, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, 2, 3, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p, w: lstm(p.clone(), state[0], state[1], w, Workspace()), (projected, weight)
    )
