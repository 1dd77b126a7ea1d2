"""Texts as the bytes that the engine's probabilities leave of them, and back: one step for all
streams, quantised and coded in the compiled loop.

A stream is one text on one lane, from a zero state. Its symbols are coded as whole numbers
(`SymbolCodes`): a token, or -1 - symbol for a symbol outside the vocabulary. Shapes: W lanes, V
vocab, T steps.

The probabilities are integers made from logits by exp in one fixed order (`_quantise`), so a stream
is read back by any number of lanes, on any processor. docs/formats.md, "Proof files", has the rules
for whoever writes a reader.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pipeline.corpora.vocab import Symbols, Vocab
from pipeline.engine import range_coder
from pipeline.engine.arithmetic import exp
from pipeline.engine.compiling import compiled
from pipeline.engine.engine import Engine
from pipeline.engine.lanes import Lanes
from pipeline.engine.step import feed
from pipeline.errors import DamagedError

# Counts every change of the arithmetic that moves a bit of a logit or of a frequency. A stream of
# another number cannot be read, since its probabilities cannot be made again.
ARITHMETIC = 1
WEIGHT_BITS = 32  # the likeliest symbol weighs 2**32, so a total has at least 32 bits
_WEIGHT = 2.0**WEIGHT_BITS
_BLOCK = 1024  # steps between hand-overs: 1 MB of room for 64 lanes
# Other alternatives than tokens: 256 bytes, or all code points. Surrogates are among them, which
# stand for bytes that are no UTF-8.
ALTERNATIVES = {"byte": 0x100, "char": 0x110000}


class Rule(NamedTuple):
    """How symbols outside the vocabulary are coded: `escapes` is 1 where they need a frequency of
    their own, behind all tokens, and 0 where token 0 is the unknown token; `alternatives` are what
    they can be.
    """

    escapes: int
    alternatives: int

    @property
    def bits(self) -> float:
        """Bits that such a symbol costs, beside the unknown token where there is one."""
        return WEIGHT_BITS * self.escapes + math.log2(self.alternatives)


@dataclass(frozen=True)
class SymbolCodes:
    """A vocabulary's symbols as the coder's numbers, and back."""

    vocab: Vocab
    rule: Rule = field(init=False)
    _by_symbol: np.ndarray = field(init=False, repr=False)
    _by_token: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        alternatives = ALTERNATIVES[self.vocab.unit]
        known = [symbol or 0 for symbol in self.vocab.symbols]
        first = int(self.vocab.has_unknown)
        table = -1 - np.arange(alternatives)
        table[known[first:]] = np.arange(first, len(known))
        object.__setattr__(self, "rule", Rule(1 - first, alternatives))
        object.__setattr__(self, "_by_symbol", table)
        object.__setattr__(self, "_by_token", np.array(known))

    def codes(self, symbols: Symbols) -> np.ndarray:
        """int64, of the symbols' shape."""
        # One layout in memory: numba compiles the loop once for each.
        return np.ascontiguousarray(self._by_symbol[symbols])

    def symbols(self, codes: np.ndarray) -> Symbols:
        outside = codes < 0
        symbols = np.where(outside, -1 - codes, self._by_token[np.where(outside, 0, codes)])
        return symbols.astype(np.uint8 if self.vocab.unit == "byte" else np.uint32)


def encode_streams(engine: Engine, streams: list[Symbols]) -> list[bytes]:
    """The bytes of each stream. The longer ones come first, so that those that go on stand in
    front.
    """
    codes = SymbolCodes(engine.writable.vocab)
    lanes = engine.lanes(len(streams))
    coder = range_coder.writing(len(streams))
    room = np.zeros((len(streams), 1), np.uint8)
    for start, stop, running in _blocks([len(stream) for stream in streams]):
        # In the worst case; and the last byte.
        room = _with_room(room, int(coder.at.max()) + (stop - start) * range_coder.BYTES_A_SYMBOL)
        block = np.stack([stream[start:stop] for stream in streams[:running]], axis=1)
        _encode(codes.codes(block), *_stepped(lanes), codes.rule, coder, room)
    room = _with_room(room, int(coder.at.max()) + 1)
    range_coder.finish(len(streams), coder, room)
    return [room[lane, : coder.at[lane]].tobytes() for lane in range(len(streams))]


def decode_streams(engine: Engine, streams: list[bytes], lengths: list[int]) -> list[Symbols]:
    """The symbols of each stream, `lengths` of them, the longer ones first. DamagedError for bytes
    that no encoder wrote.
    """
    codes = SymbolCodes(engine.writable.vocab)
    lanes = engine.lanes(len(streams))
    coder, data = range_coder.reading(streams)
    pieces: list[list[Symbols]] = [[] for _ in streams]
    for start, stop, running in _blocks(lengths):
        block = np.empty((stop - start, running), np.int64)
        if not _decode(block, *_stepped(lanes), codes.rule, coder, data):
            raise DamagedError("its streams were not written with these probabilities.")
        for lane, symbols in enumerate(codes.symbols(block.T)):
            pieces[lane].append(symbols)
        if range_coder.is_beyond(coder):
            # Zeros behind a stream's end could go on for as many symbols as a file claims.
            break
    if not range_coder.has_ended(coder):
        raise DamagedError("its streams do not end with their last symbols.")
    empty = codes.symbols(np.empty(0, np.int64))
    return [np.concatenate([empty, *stretches]) for stretches in pieces]


def scored_bits(engine: Engine, streams: list[Symbols]) -> float | None:
    """Bits of streams by the engine's plain score, beside which a coder's bytes can be held.

    The first symbol of a stream costs log2 V, as nothing was read before it. A symbol outside the
    vocabulary costs its unknown token and log2 of what it can be. None where there are such symbols
    and no unknown token: no score covers them.
    """
    codes = SymbolCodes(engine.writable.vocab)
    lanes = engine.lanes(len(streams))
    outside = sum(int((codes.codes(stream) < 0).sum()) for stream in streams)
    if outside and codes.rule.escapes:
        return None
    begun = sum(len(stream) > 0 for stream in streams)
    bits = begun * np.log2(len(engine.writable.vocab)) + outside * np.log2(codes.rule.alternatives)
    for start, stop, running in _blocks([len(stream) for stream in streams]):
        # A block's first row has been predicted, and not read.
        low = max(0, start - 1)
        block = np.stack([stream[low:stop] for stream in streams[:running]], axis=1)
        bits += lanes.score(np.maximum(codes.codes(block), 0)) / np.log(2)
    return float(bits)


def _blocks(lengths: list[int]) -> Iterator[tuple[int, int, int]]:
    """[start, stop) of steps, and how many streams still run there, all of them to its end."""
    at = 0
    running = sum(length > 0 for length in lengths)
    while running:
        stop = min(at + _BLOCK, lengths[running - 1])
        yield at, stop, running
        at = stop
        running = sum(length > at for length in lengths)


def _stepped(lanes: Lanes) -> tuple[Any, ...]:
    """What the compiled loop takes of lanes."""
    weights = lanes.weights
    return weights.config.traits.code, weights.arrays, lanes.state, lanes.buffers


def _with_room(room: np.ndarray, capacity: int) -> np.ndarray:
    """The bytes written so far (W, .), with space for `capacity` of them in each lane."""
    if room.shape[1] >= capacity:
        return room
    # Twice as much as is needed, so that a long text is not copied at every block.
    grown = np.zeros((len(room), 2 * capacity), np.uint8)
    grown[:, : room.shape[1]] = room
    return grown


@compiled
def _encode(
    codes: Any, kind: int, weights: Any, state: Any, buffers: Any, rule: Any, coder: Any, out: Any
) -> None:
    """Code a block (T, W) and read it, in place of the lanes' state."""
    steps, lanes = codes.shape
    symbols = len(weights.table)
    frequencies = np.empty(symbols + rule.escapes, np.int64)
    current = np.empty(lanes, np.int64)
    for step in range(steps):
        for lane in range(lanes):
            total = np.uint64(_quantise(buffers.logits[lane], symbols, frequencies))
            code = codes[step, lane]
            place = _place(code, symbols, rule.escapes)
            below = np.uint64(frequencies[:place].sum())
            frequency = np.uint64(frequencies[place])
            range_coder.encode(lane, below, frequency, total, coder, out)
            if code < 0:
                symbol = np.uint64(-1 - code)
                count = np.uint64(rule.alternatives)
                range_coder.encode(lane, symbol, np.uint64(1), count, coder, out)
            current[lane] = max(code, 0)
        feed(current, lanes, kind, weights, state, buffers)


@compiled
def _decode(
    codes: Any, kind: int, weights: Any, state: Any, buffers: Any, rule: Any, coder: Any, data: Any
) -> bool:
    """Fill a block (T, W) from the streams; False where no encoder wrote them."""
    steps, lanes = codes.shape
    symbols = len(weights.table)
    frequencies = np.empty(symbols + rule.escapes, np.int64)
    current = np.empty(lanes, np.int64)
    for step in range(steps):
        for lane in range(lanes):
            total = np.uint64(_quantise(buffers.logits[lane], symbols, frequencies))
            sought = range_coder.place_in(lane, total, coder)
            if sought >= total:
                return False
            place = 0
            below = np.uint64(0)
            while below + np.uint64(frequencies[place]) <= sought:
                below += np.uint64(frequencies[place])
                place += 1
            frequency = np.uint64(frequencies[place])
            range_coder.take(lane, below, frequency, total, coder, data)
            code: Any = place
            if place == _place(-1, symbols, rule.escapes):
                count = np.uint64(rule.alternatives)
                symbol = range_coder.place_in(lane, count, coder)
                if symbol >= count:
                    return False
                range_coder.take(lane, symbol, np.uint64(1), count, coder, data)
                code = -1 - np.int64(symbol)
            codes[step, lane] = code
            current[lane] = max(code, 0)
        feed(current, lanes, kind, weights, state, buffers)
    return True


@compiled
def _place(code: int, symbols: int, escapes: int) -> int:
    """Which frequency is a code's. A symbol outside the vocabulary has that of token 0, or the one
    behind all tokens.
    """
    if code >= 0:
        return code
    return symbols if escapes else 0


@compiled
def _quantise(logits: Any, symbols: int, frequencies: Any) -> int:
    """Frequencies of the tokens by their logits, 1 for an escape behind them; returns their sum.

    A token weighs exp(logit - highest) of 2**32, rounded down, and 1 more, so that none is
    impossible. Sums are of integers: nothing depends on their order.
    """
    highest = np.float64(logits[:symbols].max())
    total: Any = 0
    for token in range(symbols):
        weight = exp(np.float64(logits[token]) - highest) * _WEIGHT
        frequency = np.int64(weight) + 1
        frequencies[token] = frequency
        total += frequency
    for token in range(symbols, len(frequencies)):
        frequencies[token] = 1
        total += 1
    return total
