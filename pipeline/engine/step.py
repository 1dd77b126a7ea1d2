"""One step of the network for lanes side by side: a token in, logits out.

Shapes: W lanes, V vocab, H hidden, L layers, N = G H outputs of a layer's G gates, padded to whole
panels; gate order is torch.nn's. A lane's numbers do not depend on the lanes beside it: tiles.py
sums every one of them in the same order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.engine.arithmetic import exp, sigmoid, tanh
from pipeline.engine.compiling import compiled
from pipeline.engine.tiles import COLUMNS, GROUP, float_tile, int_tile
from pipeline.model.config import CELLS

LSTM = CELLS["lstm"].code
GRU = CELLS["gru"].code


class StateArrays(NamedTuple):
    """Hidden and cell state (L, W, H), and the hidden state as int8 activations plus 128 (L, W, H
    padded to GROUP).
    """

    hidden: np.ndarray
    cell: np.ndarray
    int8_activations: np.ndarray


class Buffers(NamedTuple):
    """What a step works in: a layer's gates and, where the biases do not join, its recurrent
    product (W, N); logits.
    """

    gates: np.ndarray
    recurrent_product: np.ndarray
    logits: np.ndarray  # (W, V padded)


_float_4 = float_tile(4)
_float_2 = float_tile(2)
_float_1 = float_tile(1)
_int_6 = int_tile(6)
_int_2 = int_tile(2)
_int_1 = int_tile(1)

_INT8_STEPS = np.float32(127)  # to either side of the middle; a cell's output is within [-1, 1]
_INT8_MIDDLE = np.float32(128.5)  # 128 makes activations unsigned, a half rounds them


@compiled
def score(tokens: Any, kind: int, weights: Any, state: Any, buffers: Any) -> float:
    """Summed nats of tokens (T + 1, B) but the first row, each predicted from those above it."""
    symbols = len(weights.table)
    total = 0.0
    for step in range(len(tokens) - 1):
        feed(tokens[step], tokens.shape[1], kind, weights, state, buffers)
        for lane in range(tokens.shape[1]):
            total += nats_of(buffers.logits[lane, :symbols], tokens[step + 1, lane])
    return total


@compiled
def score_each(tokens: Any, kind: int, weights: Any, state: Any, buffers: Any, nats: Any) -> None:
    """Like `score`, each token's own nats, into `nats` (T, B)."""
    symbols = len(weights.table)
    for step in range(len(tokens) - 1):
        feed(tokens[step], tokens.shape[1], kind, weights, state, buffers)
        for lane in range(tokens.shape[1]):
            nats[step, lane] = nats_of(buffers.logits[lane, :symbols], tokens[step + 1, lane])


@compiled
def nats_of(logits: Any, target: int) -> float:
    """Negative log-likelihood of a token under logits (V,)."""
    highest = np.float64(logits.max())
    summed = 0.0
    for token in range(len(logits)):
        summed += exp(np.float64(logits[token]) - highest)
    return np.log(summed) - (np.float64(logits[target]) - highest)


@compiled
def feed(tokens: Any, lanes: int, kind: int, weights: Any, state: Any, buffers: Any) -> None:
    """Feed one token to each of the first `lanes` lanes: state in place, logits (W, V padded)
    replaced.
    """
    into = buffers.recurrent_product if kind == GRU else buffers.gates
    hidden = state.hidden
    activations = state.int8_activations
    for layer in range(len(hidden)):
        for lane in range(lanes):
            if layer == 0:
                buffers.gates[lane] = weights.table[tokens[lane]]
            else:
                buffers.gates[lane] = weights.input_bias[layer]
            buffers.recurrent_product[lane] = weights.recurrent_bias[layer]
        if layer > 0:
            below = layer - 1
            _multiply(
                buffers.gates, hidden[below], activations[below], weights.inputs, below, lanes
            )
        _multiply(into, hidden[layer], activations[layer], weights.recurrent, layer, lanes)
        for lane in range(lanes):
            _step_cell(kind, lane, layer, buffers, state)
    for lane in range(lanes):
        buffers.logits[lane] = weights.head_bias
    _multiply_matrix(
        buffers.logits,
        hidden[-1],
        activations[-1],
        weights.head.panels,
        weights.head.start,
        weights.head.scale,
        lanes,
    )


@compiled
def _step_cell(kind: int, lane: int, layer: int, buffers: Any, state: Any) -> None:
    """One layer's arithmetic for one lane, in place, and its new output as int8 activations."""
    gates = buffers.gates[lane]
    hidden = state.hidden[layer, lane]
    if kind == LSTM:
        _lstm(gates, hidden, state.cell[layer, lane])
    elif kind == GRU:
        _gru(gates, buffers.recurrent_product[lane], hidden)
    else:
        _rnn(gates, hidden)
    activations = state.int8_activations[layer, lane]
    for unit in range(len(hidden)):
        activations[unit] = np.uint8(hidden[unit] * _INT8_STEPS + _INT8_MIDDLE)


@compiled
def _lstm(gates: Any, hidden: Any, cell: Any) -> None:
    size = len(hidden)
    i = gates[:size]
    f = gates[size : 2 * size]
    g = gates[2 * size : 3 * size]
    o = gates[3 * size : 4 * size]
    # Two loops: each is short enough for LLVM to keep in vector registers.
    for unit in range(size):
        cell[unit] = sigmoid(f[unit]) * cell[unit] + sigmoid(i[unit]) * tanh(g[unit])
    for unit in range(size):
        hidden[unit] = sigmoid(o[unit]) * tanh(cell[unit])


@compiled
def _gru(gates: Any, recurrent: Any, hidden: Any) -> None:
    """The candidate multiplies its recurrent product by the reset gate, so the two products arrive
    apart.
    """
    size = len(hidden)
    r = gates[:size]
    z = gates[size : 2 * size]
    n = gates[2 * size : 3 * size]
    recurrent_r = recurrent[:size]
    recurrent_z = recurrent[size : 2 * size]
    recurrent_n = recurrent[2 * size : 3 * size]
    for unit in range(size):
        candidate = tanh(n[unit] + sigmoid(r[unit] + recurrent_r[unit]) * recurrent_n[unit])
        update = sigmoid(z[unit] + recurrent_z[unit])
        hidden[unit] = candidate + update * (hidden[unit] - candidate)


@compiled
def _rnn(gates: Any, hidden: Any) -> None:
    for unit in range(len(hidden)):
        hidden[unit] = tanh(gates[unit])


@compiled
def _multiply(out: Any, x: Any, activations: Any, stack: Any, layer: int, lanes: int) -> None:
    """out (W, N) += x (W, K) times one layer's matrix of a stack of Panels."""
    _multiply_matrix(
        out, x, activations, stack.panels[layer], stack.start[layer], stack.scale[layer], lanes
    )


@compiled
def _multiply_matrix(
    out: Any, x: Any, activations: Any, panels: Any, start: Any, scale: Any, lanes: int
) -> None:
    """out (W, N) += x (W, K) times the panels; where there is a scale, in int8, `activations` being
    x in bytes.
    """
    is_float = len(scale) == 0
    for panel in range(len(panels)):
        place = out.ctypes.data + panel * COLUMNS * 4
        weights = panels[panel].ctypes.data
        if is_float:
            _multiply_floats(place, out.strides[0], x, weights, lanes)
        else:
            columns = panel * COLUMNS * 4
            _multiply_bytes(
                place,
                out.strides[0],
                activations,
                weights,
                start.ctypes.data + columns,
                scale.ctypes.data + columns,
                lanes,
            )


@compiled
def _multiply_floats(out: int, out_step: int, x: Any, panel: int, lanes: int) -> None:
    """Tiles of 4, 2 and 1 lanes.

    Four lanes keep 16 sums, 4 weights and 4 values in AVX-512's 32 registers; six would need 34.
    """
    at = x.ctypes.data
    step = x.strides[0]
    count = x.shape[1]
    while lanes >= 4:
        _float_4(out, out_step, at, step, panel, count)
        out += 4 * out_step
        at += 4 * step
        lanes -= 4
    if lanes >= 2:
        _float_2(out, out_step, at, step, panel, count)
        out += 2 * out_step
        at += 2 * step
        lanes -= 2
    if lanes:
        _float_1(out, out_step, at, step, panel, count)


@compiled
def _multiply_bytes(
    out: int, out_step: int, x: Any, panel: int, start: int, scale: int, lanes: int
) -> None:
    """Tiles of 6, 2 and 1 lanes, `x` in bytes."""
    at = x.ctypes.data
    step = x.strides[0]
    count = x.shape[1] // GROUP
    while lanes >= 6:
        _int_6(out, out_step, at, step, panel, count, start, scale)
        out += 6 * out_step
        at += 6 * step
        lanes -= 6
    while lanes >= 2:
        _int_2(out, out_step, at, step, panel, count, start, scale)
        out += 2 * out_step
        at += 2 * step
        lanes -= 2
    if lanes:
        _int_1(out, out_step, at, step, panel, count, start, scale)
