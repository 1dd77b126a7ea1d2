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

from pipeline.engine.arithmetic import exp, uniform
from pipeline.engine.compiling import compiled
from pipeline.engine.step import feed

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
    number = uniform(own.keys[lane], numbers[POSITION])
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
        weights[token] = exp(np.float64(logits[token]) - highest)
    log_total = np.log(_sum_in_order(weights))
    if temperature == 0.0:
        return likeliest, log_total
    if temperature != 1.0:
        for token in range(len(logits)):
            weights[token] = exp((np.float64(logits[token]) - highest) / temperature)
    if 0 < top_k < len(logits) or top_p < 1.0:
        _narrow(weights, top_k, top_p)
    target = number * _sum_in_order(weights)
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
def _sum_in_order(weights: Any) -> float:
    """The sum from the first to the last: the order of numpy's own is numba's to choose."""
    total = 0.0
    for token in range(len(weights)):
        total += weights[token]
    return total


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
