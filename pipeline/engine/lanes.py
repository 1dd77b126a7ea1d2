"""Lanes: texts in the making, side by side. One is put in, advanced, saved, taken up again; one
that ends gives its place away.

Shapes: W lanes, H hidden, L layers, N padded gate outputs, V vocab.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.corpora.vocab import Vocab, describe, symbols_of
from pipeline.engine import kernels, step
from pipeline.engine.kernels import FIELDS, LaneArrays, TextArrays
from pipeline.engine.request import LINE, Piece, Request
from pipeline.engine.saved import (
    MOVING,
    check_numbers,
    check_tensors,
    pack,
    request_digest,
    unpack,
)
from pipeline.engine.step import Buffers, StateArrays
from pipeline.engine.tiles import COLUMNS, GROUP
from pipeline.engine.weights import Weights, padded
from pipeline.errors import DamagedError, InputError

BLOCK = 256  # positions between hand-overs to the caller


@dataclass(frozen=True)
class Writable:
    """What a model may write: its vocabulary, what documents start with, and the lowest token that
    is drawn.

    `first_counts` (V,) are cumulative. `lowest` is 1 where token 0 is the unknown token: it stands
    for what nobody can write, so it is never drawn.
    """

    vocab: Vocab
    first_counts: np.ndarray
    lowest: int

    @classmethod
    def of(cls, vocab: Vocab, first_tokens: tuple[tuple[int, int], ...]) -> Writable:
        """`first_tokens` are (token, count) pairs. Where there are none, every token is as likely a
        start.
        """
        lowest = int(vocab.has_unknown)
        counts = np.zeros(len(vocab))  # float64: searched and divided by the compiled loop
        for token, count in first_tokens:
            counts[token] = count
        counts[:lowest] = 0
        if not counts.sum():
            counts[lowest:] = 1
        return cls(vocab, np.cumsum(counts), lowest)

    def tokens(self, text: bytes, what: str = "") -> np.ndarray:
        """A text as tokens (int64). InputError names symbols that the model cannot write, unknown
        token or not; `what` says which text it is.
        """
        symbols = symbols_of(text, self.vocab.unit)
        missing = self.vocab.missing(symbols)
        if missing:
            outside = describe(missing, self.vocab.unit)
            raise InputError(f"{what}{text[:40]!r} has symbols outside the vocabulary: {outside}.")
        return self.vocab.encode_symbols(symbols).astype(np.int64)


class Lanes:
    """Room for `width` texts at once. The running ones stand in front, so that a step reads the
    first so many rows.
    """

    def __init__(self, weights: Weights, writable: Writable, width: int, stop: bytes) -> None:
        config = weights.config
        layers = config.num_layers
        hidden = config.hidden_size
        self.weights = weights
        self.writable = writable
        self.width = width
        self.stop = writable.tokens(stop, "stop ")
        self.borders = stop_borders(self.stop)
        self.names: list[Hashable] = []
        self.requests: list[Request] = []  # of the running lanes, as `names`
        self.state = StateArrays(
            hidden=np.zeros((layers, width, hidden), np.float32),
            cell=np.zeros((layers, width, hidden), np.float32),
            int8_activations=np.full((layers, width, padded(hidden, GROUP)), 128, np.uint8),
        )
        self.buffers = Buffers(
            gates=np.zeros((width, weights.outputs), np.float32),
            recurrent_product=np.zeros((width, weights.outputs), np.float32),
            logits=np.zeros((width, padded(config.vocab_size, COLUMNS)), np.float32),
        )
        self.own = LaneArrays(
            numbers=np.zeros((width, len(FIELDS)), np.int64),
            keys=np.zeros(width, np.uint64),
            temperatures=np.ones(width),
            top_ps=np.ones(width),
            nats=np.zeros(width),
        )
        self.primes = np.zeros(0, np.int64)  # of all requests, one behind the other
        # By text, where it begins in `primes`: a job's files have few primes, each stands once.
        self._places: dict[bytes, int] = {}

    @property
    def running(self) -> int:
        return len(self.names)

    @property
    def free(self) -> int:
        return self.width - self.running

    def start(self, name: Hashable, request: Request, saved: bytes | None = None) -> None:
        """Put a request into a free lane; with what `save` gave, where that stood.

        InputError for a prime outside the vocabulary, DamagedError for a saved lane that is not
        this request's.
        """
        lane = self.running
        start, stop = self._place_prime(request)
        # The line feed before the first item is read, too.
        read_from = start - 1 if request.lines else start
        numbers = dict.fromkeys(FIELDS, 0) | {
            "left": request.num_chars,
            "limit": request.num_chars,
            "top_k": request.top_k,
            "items": request.lines,
            "prime_at": read_from,
            "prime_start": start,
            "prime_stop": stop,
        }
        # The lane may have been another text's.
        self.state.hidden[:, lane] = 0
        self.state.cell[:, lane] = 0
        self.buffers.logits[lane] = 0
        self.own.nats[lane] = 0
        self.own.keys[lane] = request.key
        self.own.temperatures[lane] = request.temperature
        self.own.top_ps[lane] = request.top_p
        if saved is not None:
            numbers = self._restore(lane, request, saved, numbers)
        self.own.numbers[lane] = [numbers[field] for field in FIELDS]
        # As the compiled step makes them of a hidden state.
        activations = self.state.hidden[:, lane] * np.float32(127) + np.float32(128.5)
        used = activations.shape[1]
        self.state.int8_activations[:, lane, :used] = activations.astype(np.uint8)
        self.names.append(name)
        self.requests.append(request)

    def advance(self) -> list[Piece]:
        """Go on until a lane has ended, or for BLOCK positions; what each lane wrote."""
        tokens = np.empty((BLOCK, self.width), np.int64)
        texts = TextArrays(
            self.primes,
            self.writable.first_counts,
            self.stop,
            self.borders,
            self.writable.lowest,
        )
        count = kernels.advance(
            BLOCK,
            self.running,
            self.weights.config.traits.code,
            self.weights.arrays,
            self.state,
            self.buffers,
            self.own,
            texts,
            tokens,
        )
        pieces = [
            self._piece(lane, name, tokens[:count, lane]) for lane, name in enumerate(self.names)
        ]
        self._remove_ended(pieces)
        return pieces

    def score(self, tokens: np.ndarray) -> float:
        """Summed nats of tokens (T + 1, B = W) but the first row, each predicted from those above
        it.
        """
        return float(
            step.score(
                np.ascontiguousarray(tokens, np.int64),
                self.weights.config.traits.code,
                self.weights.arrays,
                self.state,
                self.buffers,
            )
        )

    def score_each(self, tokens: np.ndarray) -> np.ndarray:
        """Nats (T, B), float64, of each of tokens (T + 1, B = W) but the first row.

        The state is kept: a next call goes on with tokens whose first row is the last one here.
        """
        nats = np.empty((len(tokens) - 1, tokens.shape[1]))
        step.score_each(
            np.ascontiguousarray(tokens, np.int64),
            self.weights.config.traits.code,
            self.weights.arrays,
            self.state,
            self.buffers,
            nats,
        )
        return nats

    def save(self, name: Hashable, more: Mapping[str, Any] | None = None) -> bytes:
        """A running lane as safetensors bytes, from which `start` goes on exactly. `more` is JSON
        that goes with it.
        """
        lane = self.names.index(name)
        numbers = dict(zip(FIELDS, self.own.numbers[lane].tolist(), strict=True))
        moving = {field: numbers[field] for field in MOVING}
        facts = {
            "key": int(self.own.keys[lane]),
            "request": request_digest(self.requests[lane], self.stop),
            "nats": self.own.nats[lane].item(),
            "prime_read": numbers["prime_at"] - numbers["prime_start"],  # -1 before a line feed
        }
        tensors = {
            "hidden": self.state.hidden[:, lane].copy(),
            "cell": self.state.cell[:, lane].copy(),
            "logits": self.buffers.logits[lane],
        }
        return pack({**(more or {}), **moving, **facts}, tensors)

    def _restore(
        self, lane: int, request: Request, saved: bytes, numbers: dict[str, int]
    ) -> dict[str, int]:
        """Put a saved state into a lane; returns its numbers, those of the request moved on."""
        try:
            lane_before = unpack(saved)
            facts = lane_before.facts
            if facts.get("key") != request.key:
                raise ValueError("it is another request's")
            if facts.get("request") != request_digest(request, self.stop):
                raise ValueError("it is a request's of other settings")
            prime_symbols = numbers["prime_stop"] - numbers["prime_start"]
            check_numbers(facts, request, prime_symbols, len(self.stop))
            into = {
                "hidden": self.state.hidden[:, lane],
                "cell": self.state.cell[:, lane],
                "logits": self.buffers.logits[lane],
            }
            shapes = {name: array.shape for name, array in into.items()}
            check_tensors(lane_before.tensors, shapes, facts["position"])
        except ValueError as error:
            raise DamagedError(
                f"a saved lane cannot be used: {error}; remove it, or give --overwrite."
            ) from None
        for name, array in into.items():
            array[:] = lane_before.tensors[name]
        self.own.nats[lane] = facts["nats"]
        moved = {field: facts[field] for field in MOVING}
        # Where the prime lies among all primes differs from job to job, how much of it was read
        # does not.
        moved["prime_at"] = numbers["prime_start"] + facts["prime_read"]
        return numbers | moved

    def _place_prime(self, request: Request) -> tuple[int, int]:
        """Where the request's prime stands among all primes; a line feed stands before it for
        lines.
        """
        before = LINE if request.lines else b""
        text = before + request.prime
        tokens = self.writable.tokens(text)
        place = self._places.get(text)
        if place is None:
            place = len(self.primes)
            self._places[text] = place
            self.primes = np.concatenate([self.primes, tokens])
        return place + len(before), place + len(tokens)

    def _piece(self, lane: int, name: Hashable, tokens: np.ndarray) -> Piece:
        numbers = self.own.numbers[lane]
        text = self.writable.vocab.decode(tokens[tokens != kernels.NOTHING])
        ended = bool(numbers[kernels.LEFT] == 0)
        return Piece(name, text, int(numbers[kernels.SAMPLED]), float(self.own.nats[lane]), ended)

    def _remove_ended(self, pieces: list[Piece]) -> None:
        # From behind, so that the lane that moves into a gap has been looked at already.
        for lane in reversed(range(self.running)):
            if pieces[lane].ended:
                self._remove(lane)

    def _remove(self, lane: int) -> None:
        """Move the last running lane into an ended one's place."""
        # So the running lanes stay in front, and no step is spent on an empty place.
        last = self.running - 1
        self.names[lane] = self.names[last]
        self.names.pop()
        self.requests[lane] = self.requests[last]
        self.requests.pop()
        self.buffers.logits[lane] = self.buffers.logits[last]
        for per_lane in self.own:
            per_lane[lane] = per_lane[last]
        for per_layer in self.state:
            per_layer[:, lane] = per_layer[:, last]


def stop_borders(stop: np.ndarray) -> np.ndarray:
    """For each beginning of `stop`, the length of its longest proper prefix that is a suffix of it
    too.
    """
    # Knuth, Morris and Pratt's failure function, from the shorter beginnings to the longer ones.
    borders = np.zeros(len(stop), np.int64)
    length = 0
    for at in range(1, len(stop)):
        while length and stop[at] != stop[length]:
            length = borders[length - 1]
        length += int(stop[at] == stop[length])
        borders[at] = length
    return borders
