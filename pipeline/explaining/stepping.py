"""A network step by step, with everything that happens inside its cells.

The same function as network.py's, to rounding; that one keeps no gates and lets nobody hold a unit
still. Formulas and gate orders are torch.nn's.

Shapes: T time, B lanes, L layers, H hidden, G gates, V vocab, S tensors of state a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from pipeline.model.network import CharRNN
from pipeline.model.threads import one_thread

# The gates that open and close, by cell; what they let through is not among them.
GATES: dict[str, tuple[str, ...]] = {
    "lstm": ("input", "forget", "output"),
    "gru": ("reset", "update"),
    "rnn": (),
}


@dataclass(frozen=True)
class Clamp:
    """Units of a layer whose output is held at a value: in lane lanes[i], units[i] at values[i]."""

    layer: int
    lanes: torch.Tensor
    units: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True)
class Inside:
    """What a network did in a stretch of text.

    `hidden` (L, T, B, H) in [-1, 1]; `cell` (L, T, B, H) is tanh of an LSTM's cell state, None
    elsewhere; `gates` (L, T, B, H) by name; `logits` (T, B, V); `state` (L, S, B, H) after it.
    """

    hidden: torch.Tensor
    cell: torch.Tensor | None
    gates: dict[str, torch.Tensor]
    logits: torch.Tensor
    state: torch.Tensor


@dataclass(frozen=True)
class _Layer:
    """One layer of a stretch: outputs (T, B, H), gates and tanh of the cell state by name."""

    outputs: torch.Tensor
    kept: dict[str, torch.Tensor]
    state: torch.Tensor


@torch.no_grad()
def step_through(
    network: CharRNN, tokens: torch.Tensor, state: torch.Tensor, clamps: Sequence[Clamp] = ()
) -> Inside:
    """Read tokens (T, B) from a state (L, S, B, H)."""
    with one_thread():
        return _stepped(network, tokens, state, clamps)


def _stepped(
    network: CharRNN, tokens: torch.Tensor, state: torch.Tensor, clamps: Sequence[Clamp]
) -> Inside:
    run = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}[network.config.cell]
    held = {clamp.layer: clamp for clamp in clamps}
    outputs = tokens
    layers = []
    for index, module in enumerate(network.layers):
        projected = _projected(network, module, outputs)
        layer = run(module, projected, state[index], held.get(index))
        layers.append(layer)
        outputs = layer.outputs
    names = GATES[network.config.cell]
    cell = None
    if network.config.cell == "lstm":
        cell = torch.stack([layer.kept["cell"] for layer in layers])
    return Inside(
        hidden=torch.stack([layer.outputs for layer in layers]),
        cell=cell,
        gates={name: torch.stack([layer.kept[name] for layer in layers]) for name in names},
        logits=network.head(outputs),
        state=torch.stack([layer.state for layer in layers]),
    )


def _projected(network: CharRNN, module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """The inputs' product with a layer's input weights and its bias, (T, B, G H).

    Inputs are tokens (T, B) for the first layer, else outputs of the layer below.
    """
    weight, _, bias, _ = module.parameters()  # torch.nn's order
    if inputs.is_floating_point():
        return functional.linear(inputs, weight, bias)
    if network.embedding is not None:
        return functional.linear(network.embedding(inputs), weight, bias)
    # A one-hot vector's product is a column. The vector itself would be as wide as the vocabulary.
    return weight.t()[inputs] + bias


def _hold(hidden: torch.Tensor, clamp: Clamp | None) -> torch.Tensor:
    """The output (B, H) with clamped units at their values."""
    if clamp is not None:
        hidden[clamp.lanes, clamp.units] = clamp.values
    return hidden


def _lstm(
    module: nn.Module, projected: torch.Tensor, state: torch.Tensor, clamp: Clamp | None
) -> _Layer:
    _, recurrent, _, bias = module.parameters()
    columns = recurrent.t().contiguous()
    projected = projected + bias
    hidden, cell = state
    size = hidden.shape[1]
    opened = projected.new_empty(projected.shape)  # gates (T, B, 4H)
    outputs = projected.new_empty((*projected.shape[:2], size))
    squashed = torch.empty_like(outputs)
    for t in range(len(projected)):
        products = torch.addmm(projected[t], hidden, columns)
        torch.sigmoid(products, out=opened[t])
        candidate = torch.tanh(products[:, 2 * size : 3 * size])
        let_in = opened[t, :, :size]
        kept = opened[t, :, size : 2 * size]
        cell = kept * cell + let_in * candidate
        torch.tanh(cell, out=squashed[t])
        torch.mul(opened[t, :, 3 * size :], squashed[t], out=outputs[t])
        hidden = _hold(outputs[t], clamp)
    let_in, kept, _, let_out = opened.split(size, dim=2)
    inside = {"input": let_in, "forget": kept, "output": let_out, "cell": squashed}
    return _Layer(outputs, inside, torch.stack([hidden, cell]))


def _gru(
    module: nn.Module, projected: torch.Tensor, state: torch.Tensor, clamp: Clamp | None
) -> _Layer:
    _, recurrent, _, bias = module.parameters()
    columns = recurrent.t().contiguous()
    hidden = state[0]
    size = hidden.shape[1]
    opened = projected.new_empty((*projected.shape[:2], 2 * size))
    outputs = projected.new_empty((*projected.shape[:2], size))
    for t in range(len(projected)):
        products = torch.addmm(bias, hidden, columns)
        torch.sigmoid(projected[t, :, : 2 * size] + products[:, : 2 * size], out=opened[t])
        reset = opened[t, :, :size]
        update = opened[t, :, size:]
        # The reset gate multiplies the product with its bias, as cuDNN has it.
        candidate = torch.tanh(projected[t, :, 2 * size :] + reset * products[:, 2 * size :])
        torch.lerp(candidate, hidden, update, out=outputs[t])
        hidden = _hold(outputs[t], clamp)
    reset, update = opened.split(size, dim=2)
    return _Layer(outputs, {"reset": reset, "update": update}, hidden.unsqueeze(0))


def _rnn(
    module: nn.Module, projected: torch.Tensor, state: torch.Tensor, clamp: Clamp | None
) -> _Layer:
    _, recurrent, _, bias = module.parameters()
    columns = recurrent.t().contiguous()
    projected = projected + bias
    hidden = state[0]
    outputs = torch.empty_like(projected)
    for t in range(len(projected)):
        torch.tanh(torch.addmm(projected[t], hidden, columns), out=outputs[t])
        hidden = _hold(outputs[t], clamp)
    return _Layer(outputs, {}, hidden.unsqueeze(0))
