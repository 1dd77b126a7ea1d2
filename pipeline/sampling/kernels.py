"""The engine's compiled loop: draw a token for every lane, feed it, and again.

Everything is defined by IEEE arithmetic in a fixed order (no fused or reordered operations but those that tiles.py asks
for), so a lane's text depends on nothing but the lane. Shapes: W lanes, V vocab, H hidden, L layers, G gates (LSTM 4, GRU 3,
RNN 1); gate order is torch.nn's. Rows of `gates` are padded to whole panels.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from pipeline.counter_rng import GOLDEN, MIX1, MIX2
from pipeline.sampling.tiles import COLUMNS, GROUP, float_tile, int_tile

LSTM, GRU, RNN = 0, 1, 2
# A lane's whole numbers, the columns of `lanes` (W, len(FIELDS)).
FIELDS = (
    "position", "left", "limit", "prime_at", "prime_start", "prime_stop", "begun", "sampled", "matched", "items", "top_k",
)  # fmt: skip
POSITION, LEFT, LIMIT, PRIME_AT, PRIME_START, PRIME_STOP, BEGUN, SAMPLED, MATCHED, ITEMS, TOP_K = range(len(FIELDS))
NOTHING = -1  # in place of a token that is read but not written

_jit = numba.njit(nogil=True, error_model="numpy", cache=True)
_float_4, _float_2, _float_1 = float_tile(4), float_tile(2), float_tile(1)
_int_6, _int_2, _int_1 = int_tile(6), int_tile(2), int_tile(1)

# tanh(x) = x P(x^2) / Q(x^2) on |x| < 9, fitted by reweighted least squares; 4e-7 from the function at most.
_LIMIT, _HALF, _ONE = np.float32(9), np.float32(0.5), np.float32(1)
_P = tuple(map(np.float32, (1.31844645e-08, 2.04720216e-05, 3.48659425e-03, 1.33732084e-01, 9.99999906e-01)))
_Q = tuple(map(np.float32, (7.70276715e-07, 3.27140507e-04, 2.5842027e-02, 4.67065052e-01, 1.0)))
_QUANTA, _MIDDLE = np.float32(127), np.float32(128.5)  # activations: 127 steps to either side of 128, rounded
_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693147180369123816490, 1.90821492927058770002e-10
_TAYLOR = tuple(1.0 / np.cumprod([1.0, *range(1, 13)])[::-1])  # of exp, highest power first


@_jit
def _multiply(out: Any, x: Any, coarse: Any, panels: Any, start: Any, scale: Any, lanes: int) -> None:
    """out (W, N) += x (W, K) times the panels; where there is a scale, in int8 from `coarse`, the same x in bytes."""
    exact = len(scale) == 0
    for panel in range(len(panels)):
        place, step = out.ctypes.data + panel * COLUMNS * 4, out.strides[0]
        weights = panels[panel].ctypes.data
        if exact:
            _multiply_floats(place, step, x, weights, lanes)
        else:
            columns = panel * COLUMNS * 4
            _multiply_bytes(place, step, coarse, weights, start.ctypes.data + columns, scale.ctypes.data + columns, lanes)


@_jit
def _multiply_floats(out: int, out_step: int, x: Any, panel: int, lanes: int) -> None:
    at, step, count = x.ctypes.data, x.strides[0], x.shape[1]
    while lanes >= 4:
        _float_4(out, out_step, at, step, panel, count)
        out, at, lanes = out + 4 * out_step, at + 4 * step, lanes - 4
    if lanes >= 2:
        _float_2(out, out_step, at, step, panel, count)
        out, at, lanes = out + 2 * out_step, at + 2 * step, lanes - 2
    if lanes:
        _float_1(out, out_step, at, step, panel, count)


@_jit
def _multiply_bytes(out: int, out_step: int, x: Any, panel: int, start: int, scale: int, lanes: int) -> None:
    at, step, count = x.ctypes.data, x.strides[0], x.shape[1] // GROUP
    while lanes >= 6:
        _int_6(out, out_step, at, step, panel, count, start, scale)
        out, at, lanes = out + 6 * out_step, at + 6 * step, lanes - 6
    while lanes >= 2:
        _int_2(out, out_step, at, step, panel, count, start, scale)
        out, at, lanes = out + 2 * out_step, at + 2 * step, lanes - 2
    if lanes:
        _int_1(out, out_step, at, step, panel, count, start, scale)


@_jit
def _tanh(x: Any) -> Any:
    x = _LIMIT if x > _LIMIT else x
    x = -_LIMIT if x < -_LIMIT else x
    s = x * x
    p = (((_P[0] * s + _P[1]) * s + _P[2]) * s + _P[3]) * s + _P[4]
    q = (((_Q[0] * s + _Q[1]) * s + _Q[2]) * s + _Q[3]) * s + _Q[4]
    return x * p / q


@_jit
def _sigmoid(x: Any) -> Any:
    return _HALF * _tanh(_HALF * x) + _HALF


@_jit
def _cell(kind: int, gates: Any, recurrent: Any, hidden: Any, cell: Any, coarse: Any) -> None:
    """One layer's arithmetic for one lane, in place: gates and recurrent (G H, padded), hidden and cell (H)."""
    size = len(hidden)
    if kind == LSTM:
        i, f, g, o = gates[:size], gates[size : 2 * size], gates[2 * size : 3 * size], gates[3 * size : 4 * size]
        for unit in range(size):
            cell[unit] = _sigmoid(f[unit]) * cell[unit] + _sigmoid(i[unit]) * _tanh(g[unit])
        for unit in range(size):
            hidden[unit] = _sigmoid(o[unit]) * _tanh(cell[unit])
    elif kind == GRU:
        r, z, n = gates[:size], gates[size : 2 * size], gates[2 * size : 3 * size]
        hr, hz, hn = recurrent[:size], recurrent[size : 2 * size], recurrent[2 * size : 3 * size]
        for unit in range(size):
            new = _tanh(n[unit] + _sigmoid(r[unit] + hr[unit]) * hn[unit])
            hidden[unit] = new + _sigmoid(z[unit] + hz[unit]) * (hidden[unit] - new)
    else:
        for unit in range(size):
            hidden[unit] = _tanh(gates[unit])
    for unit in range(size):
        coarse[unit] = np.uint8(hidden[unit] * _QUANTA + _MIDDLE)


@_jit
def feed(tokens: Any, lanes: int, kind: int, weights: Any, state: Any, scratch: Any, logits: Any) -> None:
    """Feed one token to each of the first `lanes` lanes: state in place, logits (W, V padded) replaced.

    weights: table (V, N) of the first layer's input products, biases (of inputs and recurrent, (L, N); of the head), and
    panels, start and scale of recurrent (L), inputs (L - 1) and head. state: hidden and cell (L, W, H), and hidden in bytes.
    """
    table, biases, recurrent, inputs, head = weights
    hidden, cell, coarse = state
    gates, apart = scratch
    into = apart if kind == GRU else gates
    for layer in range(len(hidden)):
        for lane in range(lanes):
            gates[lane] = table[tokens[lane]] if layer == 0 else biases[0][layer]
            apart[lane] = biases[1][layer]
        if layer > 0:
            below = layer - 1
            panels, start, scale = inputs[0][below], inputs[1][below], inputs[2][below]
            _multiply(gates, hidden[below], coarse[below], panels, start, scale, lanes)
        panels, start, scale = recurrent[0][layer], recurrent[1][layer], recurrent[2][layer]
        _multiply(into, hidden[layer], coarse[layer], panels, start, scale, lanes)
        for lane in range(lanes):
            _cell(kind, gates[lane], apart[lane], hidden[layer, lane], cell[layer, lane], coarse[layer, lane])
    for lane in range(lanes):
        logits[lane] = biases[2]
    _multiply(logits, hidden[-1], coarse[-1], head[0], head[1], head[2], lanes)


@intrinsic
def _power_of_two(typing: Any, exponent: Any) -> Any:
    """2.0 ** exponent, for whole exponents of normal numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        biased = builder.add(args[0], ir.Constant(ir.IntType(64), 1023))
        return builder.bitcast(builder.shl(biased, ir.Constant(ir.IntType(64), 52)), ir.DoubleType())

    return types.float64(types.int64), generate


@_jit
def _exp(x: float) -> float:
    """exp of a number that is not positive, within two units in the last place; 0 below -700."""
    clipped = x if x > -700.0 else -700.0
    k = np.floor(clipped * _LOG2E + 0.5)
    r = (clipped - k * _LN2_HIGH) - k * _LN2_LOW
    value = _TAYLOR[0]
    for index in range(1, len(_TAYLOR)):
        value = value * r + _TAYLOR[index]
    return value * _power_of_two(np.int64(k)) if x > -700.0 else 0.0  # type: ignore[call-arg]


@_jit
def _uniform(key: Any, position: int) -> float:
    """Number `position` of a key, in [0, 1): counter_rng.uniforms, one at a time."""
    word = key + np.uint64(position + 1) * np.uint64(GOLDEN)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(MIX1)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(MIX2)
    word ^= word >> np.uint64(31)
    return float(word >> np.uint64(11)) * 2.0**-53


@_jit
def _draw(logits: Any, temperature: float, top_k: int, top_p: float, number: float, weights: Any) -> tuple[int, float]:
    """A token from logits (V,) by inverting the cumulative distribution at `number`, and its nats at temperature 1.

    top_k keeps the k likeliest, then top_p the fewest of these that have the probability p (Holtzman et al. 2020); of
    equals the first. weights (V,) is scratch.
    """
    likeliest = 0
    for token in range(1, len(logits)):
        if logits[token] > logits[likeliest]:
            likeliest = token
    highest = np.float64(logits[likeliest])
    for token in range(len(logits)):
        weights[token] = _exp(np.float64(logits[token]) - highest)
    log_total = np.log(weights.sum())
    if temperature == 0.0:
        return likeliest, log_total
    if temperature != 1.0:
        for token in range(len(logits)):
            weights[token] = _exp((np.float64(logits[token]) - highest) / temperature)
    if 0 < top_k < len(logits) or top_p < 1.0:
        _narrow(weights, top_k, top_p)
    target, running = number * weights.sum(), 0.0
    chosen = likeliest
    for token in range(len(weights)):
        running += weights[token]
        if weights[token] > 0.0:
            chosen = token
            if running > target:
                break
    return chosen, log_total - (np.float64(logits[chosen]) - highest)


@_jit
def _narrow(weights: Any, top_k: int, top_p: float) -> None:
    """Zero the weights that top_k and top_p leave out."""
    order = np.argsort(-weights, kind="mergesort")
    kept = min(top_k, len(order)) if top_k > 0 else len(order)
    if top_p < 1.0:
        total = 0.0
        for rank in range(kept):
            total += weights[order[rank]]
        running = 0.0
        for rank in range(kept):
            running += weights[order[rank]]
            if running >= top_p * total:
                kept = rank + 1
                break
    for rank in range(kept, len(order)):
        weights[order[rank]] = 0.0


@_jit
def _ends(own: Any, token: int, stop: Any, borders: Any) -> bool:
    """Whether a sampled token ends the lane's text or item: its length is reached, or the stop text is complete.

    Knuth, Morris and Pratt's automaton: own[MATCHED] tokens of `stop` have been seen, borders[m - 1] is what is left of m.
    """
    if len(stop):
        matched = own[MATCHED]
        while matched > 0 and stop[matched] != token:
            matched = borders[matched - 1]
        matched += stop[matched] == token
        own[MATCHED] = 0 if matched == len(stop) else matched
        if matched == len(stop):
            return True
    return own[LEFT] == 0


@_jit
def advance(
    steps: int, lanes: int, kind: int, weights: Any, state: Any, scratch: Any, logits: Any, numbers: Any, chances: Any,
    primes: Any, first: Any, stop: Any, borders: Any, lowest: int, tokens: Any, nats: Any,
) -> int:  # fmt: skip
    """Advance the first `lanes` lanes until one has ended, `steps` positions at most; returns how many positions.

    numbers (W, len(FIELDS)) and chances (keys, temperatures, top_ps, each (W,)) are the lanes' own; nats (W,) grows. tokens
    (steps, W) gets what is to be written. primes: all lanes' primes in a row. first: cumulative counts of first tokens.
    lowest: 1 where token 0 is the unknown token, which is never drawn. A lane with items left begins the next one from a
    zero state that has read the last stop token: items are lines.
    """
    hidden, cell, coarse = state
    keys, temperatures, top_ps = chances
    current = np.empty(lanes, np.int64)
    symbols = len(first)
    heap = np.empty(symbols - lowest, np.float64)
    for step in range(steps):
        ended = False
        for lane in range(lanes):
            own: Any = numbers[lane]
            token: Any
            number = _uniform(keys[lane], own[POSITION])
            own[POSITION] += 1
            if own[PRIME_AT] < own[PRIME_STOP]:
                token = primes[own[PRIME_AT]]
                tokens[step, lane] = token if own[PRIME_AT] >= own[PRIME_START] else NOTHING
                own[PRIME_AT] += 1
                own[BEGUN] = 1
                current[lane] = token
                continue
            own[LEFT] -= 1
            if own[BEGUN] == 0:
                token = min(np.searchsorted(first, number * first[-1], side="right"), symbols - 1)
                below = first[token - 1] if token > 0 else 0.0
                nats[lane] -= np.log((first[token] - below) / first[-1])
            elif own[ITEMS] > 0 and own[LEFT] == 0:
                token = stop[-1]  # an item that is too long
            else:
                drawn, cost = _draw(logits[lane, lowest:symbols], temperatures[lane], own[TOP_K], top_ps[lane], number, heap)
                token = drawn + lowest
                nats[lane] += cost
            own[BEGUN] = 1
            own[SAMPLED] += 1
            tokens[step, lane] = current[lane] = token
            if _ends(own, token, stop, borders):
                own[ITEMS] -= 1
                if own[ITEMS] > 0:
                    own[LEFT], own[PRIME_AT] = own[LIMIT], own[PRIME_START]
                    hidden[:, lane], cell[:, lane], coarse[:, lane] = 0, 0, 128
                else:
                    own[LEFT] = 0
                    ended = True
        feed(current, lanes, kind, weights, state, scratch, logits)
        if ended:
            return step + 1
    return steps


@_jit
def score(tokens: Any, kind: int, weights: Any, state: Any, scratch: Any, logits: Any) -> float:
    """Summed nats of tokens (T + 1, B) but the first row, each predicted from those above it."""
    symbols, total = len(weights[0]), 0.0
    for step in range(len(tokens) - 1):
        feed(tokens[step], tokens.shape[1], kind, weights, state, scratch, logits)
        for lane in range(tokens.shape[1]):
            own = logits[lane, :symbols]
            highest, heap = np.float64(own.max()), 0.0
            for token in range(symbols):
                heap += _exp(np.float64(own[token]) - highest)
            total += np.log(heap) - (np.float64(own[tokens[step + 1, lane]]) - highest)
    return total
