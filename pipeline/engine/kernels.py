"""The engine's compiled loop: choose a token for every lane, account for it, feed it, and again.

Everything is defined by IEEE arithmetic in a fixed order (no fused or reordered operations but
those that tiles.py asks for), so a lane's text depends on nothing but the lane. Shapes: W lanes, V
vocab, H hidden, L layers, N = G H outputs of a layer's G gates, padded to whole panels; gate order
is torch.nn's. Compiled arguments are named tuples of arrays, since numba takes no classes:
weights.WeightArrays, and the ones below.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from pipeline.counter_rng import GOLDEN, MIX1, MIX2
from pipeline.engine.compiling import compiled
from pipeline.engine.tiles import COLUMNS, GROUP, float_tile, int_tile
from pipeline.model.config import CELLS

LSTM = CELLS["lstm"].code
GRU = CELLS["gru"].code

# A lane's whole numbers, the columns of LaneArrays.numbers (W, len(FIELDS)).
FIELDS = (
    "position",  # of the next random number
    "left",  # symbols that may still be sampled, of the text or of the item
    "limit",  # what `left` begins with, again for each item
    "prime_at",  # the next symbol of the prime to read
    "prime_start",  # the first that is written, too
    "prime_stop",
    # whether anything has been read: nothing has, so the first symbol is drawn by what documents
    # start with
    "begun",
    "sampled",
    "matched",  # symbols of the stop text that have just been sampled
    "items",  # lines still to be written; 0 for a text without lines
    "top_k",
)
(
    POSITION,
    LEFT,
    LIMIT,
    PRIME_AT,
    PRIME_START,
    PRIME_STOP,
    BEGUN,
    SAMPLED,
    MATCHED,
    ITEMS,
    TOP_K,
) = range(len(FIELDS))
NOTHING = -1  # in place of a token that is read but not written


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


class LaneArrays(NamedTuple):
    """What is a lane's own: whole numbers (W, len(FIELDS)), and (W,) of the rest."""

    numbers: np.ndarray
    keys: np.ndarray
    temperatures: np.ndarray
    top_ps: np.ndarray
    nats: np.ndarray  # of what was sampled, at temperature 1


class TextArrays(NamedTuple):
    """What is true of all texts: primes one behind the other, the cumulative counts of first tokens
    (V,), the stop text and its borders, and `lowest`: 1 where token 0 is the unknown token, which
    is never drawn.
    """

    primes: np.ndarray
    first_counts: np.ndarray
    stop: np.ndarray
    borders: np.ndarray
    lowest: int


_float_4 = float_tile(4)
_float_2 = float_tile(2)
_float_1 = float_tile(1)
_int_6 = int_tile(6)
_int_2 = int_tile(2)
_int_1 = int_tile(1)

# tanh(x) = x P(x^2) / Q(x^2) on |x| < 9, fitted by reweighted least squares; 4e-7 from the function
# at most.
_TANH_LIMIT = np.float32(9)
_HALF = np.float32(0.5)
_P = tuple(
    map(
        np.float32, (1.31844645e-08, 2.04720216e-05, 3.48659425e-03, 1.33732084e-01, 9.99999906e-01)
    )
)
_Q = tuple(map(np.float32, (7.70276715e-07, 3.27140507e-04, 2.5842027e-02, 4.67065052e-01, 1.0)))

_INT8_STEPS = np.float32(127)  # to either side of the middle; a cell's output is within [-1, 1]
_INT8_MIDDLE = np.float32(128.5)  # 128 makes activations unsigned, a half rounds them

_LOG2E = 1.4426950408889634
# ln 2 in two parts: the first has zeros at its end, so that its multiples by whole numbers are
# exact.
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10
_EXP_LOWEST = -700.0  # below, exp is 0: its exponent would leave the normal numbers at -708
_TAYLOR = tuple(1.0 / np.cumprod([1.0, *range(1, 13)])[::-1])  # of exp, highest power first


@compiled
def advance(
    steps: int,
    lanes: int,
    kind: int,
    weights: Any,
    state: Any,
    buffers: Any,
    own: Any,
    texts: Any,
    tokens: Any,
) -> int:
    """Advance the first `lanes` lanes until one has ended, `steps` positions at most; returns how
    many positions.

    `own` (LaneArrays) changes; `tokens` (steps, W) gets what is to be written, NOTHING where a
    symbol is only read.
    """
    current = np.empty(lanes, np.int64)
    scratch = np.empty(len(texts.first_counts) - texts.lowest, np.float64)
    for step in range(steps):
        ended = False
        for lane in range(lanes):
            if own.numbers[lane, PRIME_AT] < own.numbers[lane, PRIME_STOP]:
                token, written = _read_prime(own.numbers[lane], texts.primes)
                tokens[step, lane] = written
                current[lane] = token
                continue
            token = _sample(lane, own, buffers.logits, texts, scratch)
            tokens[step, lane] = token
            current[lane] = token
            if ends_text(own.numbers[lane], token, texts.stop, texts.borders):
                ended |= _next_item(lane, own.numbers[lane], state)
        feed(current, lanes, kind, weights, state, buffers)
        if ended:
            return step + 1
    return steps


@compiled
def _read_prime(numbers: Any, primes: Any) -> tuple[int, int]:
    """The prime's next symbol, and what is written of it: the line feed before an item's prime is
    only read.
    """
    token: Any = primes[numbers[PRIME_AT]]
    written = token if numbers[PRIME_AT] >= numbers[PRIME_START] else NOTHING
    # A position has one random number whether it is used or not, so that positions count all
    # symbols.
    numbers[POSITION] += 1
    numbers[PRIME_AT] += 1
    numbers[BEGUN] = 1
    return token, written


@compiled
def _sample(lane: int, own: Any, logits: Any, texts: Any, scratch: Any) -> Any:
    """Choose a lane's next symbol and count it: by first tokens, by the end of an item that is too
    long, or drawn.
    """
    numbers: Any = own.numbers[lane]
    number = _uniform(own.keys[lane], numbers[POSITION])
    numbers[POSITION] += 1
    numbers[LEFT] -= 1
    symbols = len(texts.first_counts)
    if numbers[BEGUN] == 0:
        token, cost = _first_token(number, texts.first_counts)
        own.nats[lane] += cost
    elif numbers[ITEMS] > 0 and numbers[LEFT] == 0:
        token = texts.stop[-1]  # nobody drew this line feed, so it costs no nats
    else:
        drawn, cost = _draw(
            logits[lane, texts.lowest : symbols],
            own.temperatures[lane],
            numbers[TOP_K],
            own.top_ps[lane],
            number,
            scratch,
        )
        token = drawn + texts.lowest
        own.nats[lane] += cost
    numbers[BEGUN] = 1
    numbers[SAMPLED] += 1
    return token


@compiled
def _next_item(lane: int, numbers: Any, state: Any) -> bool:
    """After an item's end: begin the next one from a zero state that reads its prime again; True
    when there is none.
    """
    numbers[ITEMS] -= 1
    if numbers[ITEMS] <= 0:
        numbers[LEFT] = 0
        return True
    numbers[LEFT] = numbers[LIMIT]
    numbers[PRIME_AT] = numbers[PRIME_START]
    # The line feed that ended the item is fed to this zero state, as the first item read one.
    state.hidden[:, lane] = 0
    state.cell[:, lane] = 0
    state.int8_activations[:, lane] = 128
    return False


@compiled
def ends_text(numbers: Any, token: int, stop: Any, borders: Any) -> bool:
    """Whether a sampled token ends the lane's text or item: its length is reached, or the stop text
    is complete.

    Knuth, Morris and Pratt's automaton: numbers[MATCHED] tokens of `stop` have been seen, borders[m
    - 1] is what is left of m when the next one does not fit.
    """
    if len(stop):
        matched = numbers[MATCHED]
        while matched > 0 and stop[matched] != token:
            matched = borders[matched - 1]
        matched += stop[matched] == token
        complete = matched == len(stop)
        numbers[MATCHED] = 0 if complete else matched
        if complete:
            return True
    return numbers[LEFT] == 0


@compiled
def score(tokens: Any, kind: int, weights: Any, state: Any, buffers: Any) -> float:
    """Summed nats of tokens (T + 1, B) but the first row, each predicted from those above it."""
    symbols = len(weights.table)
    total = 0.0
    for step in range(len(tokens) - 1):
        feed(tokens[step], tokens.shape[1], kind, weights, state, buffers)
        for lane in range(tokens.shape[1]):
            logits = buffers.logits[lane, :symbols]
            highest = np.float64(logits.max())
            summed = 0.0
            for token in range(symbols):
                summed += _exp(np.float64(logits[token]) - highest)
            total += np.log(summed) - (np.float64(logits[tokens[step + 1, lane]]) - highest)
    return total


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
        cell[unit] = _sigmoid(f[unit]) * cell[unit] + _sigmoid(i[unit]) * _tanh(g[unit])
    for unit in range(size):
        hidden[unit] = _sigmoid(o[unit]) * _tanh(cell[unit])


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
        candidate = _tanh(n[unit] + _sigmoid(r[unit] + recurrent_r[unit]) * recurrent_n[unit])
        update = _sigmoid(z[unit] + recurrent_z[unit])
        hidden[unit] = candidate + update * (hidden[unit] - candidate)


@compiled
def _rnn(gates: Any, hidden: Any) -> None:
    for unit in range(len(hidden)):
        hidden[unit] = _tanh(gates[unit])


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


@compiled
def _tanh(x: Any) -> Any:
    x = _TANH_LIMIT if x > _TANH_LIMIT else x
    x = -_TANH_LIMIT if x < -_TANH_LIMIT else x
    s = x * x
    p = (((_P[0] * s + _P[1]) * s + _P[2]) * s + _P[3]) * s + _P[4]
    q = (((_Q[0] * s + _Q[1]) * s + _Q[2]) * s + _Q[3]) * s + _Q[4]
    return x * p / q


@compiled
def _sigmoid(x: Any) -> Any:
    return _HALF * _tanh(_HALF * x) + _HALF


@intrinsic
def _power_of_two(typing: Any, exponent: Any) -> Any:
    """2.0 ** exponent, for whole exponents of normal numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        biased = builder.add(args[0], ir.Constant(ir.IntType(64), 1023))
        shifted = builder.shl(biased, ir.Constant(ir.IntType(64), 52))
        return builder.bitcast(shifted, ir.DoubleType())

    return types.float64(types.int64), generate


@compiled
def _exp(x: float) -> float:
    """exp of a number that is not positive, within two units in the last place; 0 below -700."""
    clipped = x if x > _EXP_LOWEST else _EXP_LOWEST
    k = np.floor(clipped * _LOG2E + 0.5)
    r = (clipped - k * _LN2_HIGH) - k * _LN2_LOW
    value = _TAYLOR[0]
    for index in range(1, len(_TAYLOR)):
        value = value * r + _TAYLOR[index]
    return value * _power_of_two(np.int64(k)) if x > _EXP_LOWEST else 0.0  # type: ignore[call-arg]


@compiled
def _uniform(key: Any, position: int) -> float:
    """Number `position` of a key, in [0, 1): counter_rng.uniforms, one at a time."""
    word = key + np.uint64(position + 1) * np.uint64(GOLDEN)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(MIX1)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(MIX2)
    word ^= word >> np.uint64(31)
    return float(word >> np.uint64(11)) * 2.0**-53


@compiled
def _first_token(number: float, first_counts: Any) -> tuple[int, float]:
    """A token by what documents start with, at `number` of its cumulative counts (V,), and its
    nats.
    """
    total = first_counts[-1]
    token = min(np.searchsorted(first_counts, number * total, side="right"), len(first_counts) - 1)
    below = first_counts[token - 1] if token > 0 else 0.0
    return token, -np.log((first_counts[token] - below) / total)


@compiled
def _draw(
    logits: Any, temperature: float, top_k: int, top_p: float, number: float, weights: Any
) -> tuple[int, float]:
    """A token from logits (V,) by inverting the cumulative distribution at `number`, and its nats
    at temperature 1.

    top_k keeps the k likeliest, then top_p the fewest of these that have the probability p
    (Holtzman et al. 2020); of equals the first. weights (V,) is scratch.
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
    target = number * weights.sum()
    running = 0.0
    chosen = likeliest
    for token in range(len(weights)):
        running += weights[token]
        if weights[token] > 0.0:
            # Where rounding leaves the sum below the target, it is the last token that has a
            # weight.
            chosen = token
            if running > target:
                break
    return chosen, log_total - (np.float64(logits[chosen]) - highest)


@compiled
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
