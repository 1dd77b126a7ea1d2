"""What a model makes of a text, as a stream: nats by symbol, each with its place in the bytes.

A text is read in lanes, each from a zero state. How many there are follows from the text's length
alone, and a lane's arithmetic does not depend on the lanes beside it (engine/engine.py), so the
stream is the same for any number of tasks and workers.

Shapes: N symbols of the text (bytes or characters, as the model's vocabulary says), M tokens that
the model reads, T time, B lanes.
"""

from __future__ import annotations

import base64
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.corpora.vocab import Symbols, Unit, Vocab, symbols_of
from pipeline.engine.opening import open_engine
from pipeline.errors import InputError
from pipeline.model.about import Precision
from pipeline.model.artifact import ModelArtifact

MAX_LANES = 64  # what one compiled loop steps together at its best (engine.WIDTH)
LANE_TOKENS = 8192  # a lane at least: its first ones are predicted from an empty state
_STEPS_AT_ONCE = 4096  # tokens a lane between two copies of them
# What it takes to spell out a symbol that the vocabulary lacks: a byte, or one of 2**21 code
# points.
ESCAPE_BITS: dict[Unit, float] = {"byte": 8.0, "char": 21.0}


@dataclass(frozen=True)
class Unknown:
    """Symbols outside a model's vocabulary: how many, their bytes, and the bits they are priced at.

    `price` says how: those bits are in the score.
    """

    symbols: int
    bytes: int
    bits: float
    price: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Reading:
    """A text as a model reads it.

    `tokens` (M,) are read; `places` (M,) are their symbols' indices, `starts` (N,) the byte where
    each symbol begins. Symbols without a token are not in `places`. `escaped` (N,) are the nats of
    spelling out what is unknown, before the model's own.
    """

    tokens: np.ndarray
    places: np.ndarray
    starts: np.ndarray
    escaped: np.ndarray
    unknown: Unknown

    @property
    def lanes(self) -> int:
        return lanes_for(len(self.tokens))


@dataclass(frozen=True)
class LaneTask:
    """Some lanes of a text for a model: each an array of tokens, all but its first predicted."""

    model: ModelArtifact
    precision: Precision
    lanes: tuple[np.ndarray, ...]

    def run(self) -> str:
        """The nats of the lanes, one behind the other, as base64 of float64."""
        engine = open_engine(self.model, self.precision)
        # JSON is what a runner brings back; base64 keeps every bit of a float.
        return base64.b64encode(np.concatenate(engine_nats(engine, self.lanes)).tobytes()).decode()


def reading(text: bytes, vocab: Vocab, name: str = "the model") -> Reading:
    """A text as tokens of a vocabulary. InputError for bytes that are no text to a char model."""
    try:
        symbols = symbols_of(text, vocab.unit)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} reads characters, and the text is not UTF-8 at byte {error.start:,}; "
            "give UTF-8, or a model of bytes."
        ) from None
    widths = _widths(symbols, vocab.unit)
    is_unknown = np.isin(symbols, vocab.missing(symbols))
    if vocab.has_unknown:
        places = np.arange(len(symbols))
        tokens = vocab.encode_symbols(symbols)
    else:
        # The model has no token to read there: it goes on as if the symbol were not in the text.
        places = np.flatnonzero(~is_unknown)
        tokens = vocab.encode_symbols(symbols[places])
    count = int(is_unknown.sum())
    bits = unknown_bits(vocab, len(symbols), count)
    unknown = Unknown(count, int(widths[is_unknown].sum()), count * bits, _price(vocab))
    starts = np.cumsum(widths) - widths
    escaped = np.where(is_unknown, bits * math.log(2), 0.0)
    return Reading(tokens, places, starts, escaped, unknown)


def unknown_bits(vocab: Vocab, symbols: int, unknown: int) -> float:
    """The bits that each unknown symbol of a text costs beside the model's own price of its unknown
    token.
    """
    bits = ESCAPE_BITS[vocab.unit]
    if unknown and not vocab.has_unknown:
        bits += place_bits(symbols, unknown) / unknown
    return bits


def place_bits(symbols: int, unknown: int) -> float:
    """Bits that say which of a text's symbols are unknown: how many, and which choice of them."""
    choices = math.lgamma(symbols + 1)
    choices -= math.lgamma(unknown + 1) + math.lgamma(symbols - unknown + 1)
    return math.log2(symbols + 1) + choices / math.log(2)


def lanes_for(tokens: int) -> int:
    """Lanes that a text of so many tokens is read in."""
    return max(1, min(MAX_LANES, tokens // LANE_TOKENS))


def lane_tasks(
    model: ModelArtifact, precision: Precision, read: Reading, tasks: int = 1
) -> list[LaneTask]:
    """The lanes of a text in about so many tasks; none where nothing is predicted."""
    predicted = len(read.tokens) - 1
    if predicted < 1:
        return []
    count = read.lanes
    bounds = [lane * predicted // count for lane in range(count + 1)]
    lanes = [read.tokens[bounds[lane] : bounds[lane + 1] + 1] for lane in range(count)]
    a_task = -(-count // max(1, tasks))
    return [
        LaneTask(model, precision, tuple(lanes[first : first + a_task]))
        for first in range(0, count, a_task)
    ]


def engine_nats(engine: Any, lanes: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """The nats of each lane's tokens but its first, read side by side from a zero state."""
    longest = max(len(lane) for lane in lanes)
    running = engine.lanes(len(lanes))
    nats = np.empty((longest - 1, len(lanes)))
    for at in range(0, longest - 1, _STEPS_AT_ONCE):
        height = min(_STEPS_AT_ONCE, longest - 1 - at) + 1
        tokens = np.zeros((height, len(lanes)), np.int64)
        for column, lane in enumerate(lanes):
            stretch = lane[at : at + height]
            tokens[: len(stretch), column] = stretch
        nats[at : at + height - 1] = running.score_each(tokens)
    # Past a lane's end the engine has read zeros, whose nats nobody asked for.
    return [nats[: len(lane) - 1, column] for column, lane in enumerate(lanes)]


def stream(read: Reading, results: list[str], vocab_size: int) -> np.ndarray:
    """The nats (N,) of a text's symbols from the results of its tasks, in order.

    The text's first token is predicted from nothing: it costs the logarithm of the vocabulary.
    Symbols outside the vocabulary cost their price as well.
    """
    nats = read.escaped.copy()
    if len(read.tokens):
        nats[read.places[0]] += math.log(vocab_size)
    parts = [np.frombuffer(base64.b64decode(result)) for result in results]
    if parts:
        nats[read.places[1:]] += np.concatenate(parts)
    return nats


def _widths(symbols: Symbols, unit: Unit) -> np.ndarray:
    """The bytes of each symbol."""
    if unit == "byte":
        return np.ones(len(symbols), np.int64)
    # UTF-8: one byte below U+0080, two below U+0800, three below U+10000.
    return 1 + np.searchsorted([0x80, 0x800, 0x10000], symbols, side="right")


def _price(vocab: Vocab) -> str:
    spelled = f"{ESCAPE_BITS[vocab.unit]:.0f} bits to spell out a {vocab.unit}"
    if vocab.has_unknown:
        return f"the model's own price of its unknown token, and {spelled}"
    return f"its share of naming the places of all unknown symbols, and {spelled}"
