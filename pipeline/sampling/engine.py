"""The sampling engine: lanes of characters stepped together by a compiled loop, one thread, refilled as they end.

A lane's text depends on its own request alone, bit for bit: every lane's arithmetic has an order of its own (tiles.py,
kernels.py), and random numbers are keyed by request and position. So it does not matter which lanes are stepped together,
how many, on how many actors or threads, or whether a lane was saved and taken up again elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from pipeline.corpora.vocab import Vocab, describe, symbols_of
from pipeline.counter_rng import key_of
from pipeline.errors import DamagedError, InputError
from pipeline.sampling import kernels
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.kernels import FIELDS
from pipeline.sampling.layout import Layout, Precision, padded
from pipeline.sampling.tiles import COLUMNS, GROUP
from pipeline.training.artifact import FetchedModel

if TYPE_CHECKING:
    from pipeline.training.model import CharRNN

BLOCK = 256  # positions between hand-overs to the caller
LINE = b"\n"


@dataclass(frozen=True)
class Request:
    """One text to sample: `number` tells the files of a job apart; `prime` is text in the model's unit.

    With `lines`, the text is that many items, each a line that begins with the prime and has num_chars characters at most;
    the model reads a line feed first and starts each from a zero state.
    """

    number: int
    num_chars: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    prime: bytes = b""
    seed: int = 1
    lines: int = 0

    @property
    def key(self) -> int:
        """The key of this request's random numbers."""
        prime = int.from_bytes(hashlib.sha256(self.prime).digest()[:8], "big")
        (temperature,) = struct.unpack("<Q", struct.pack("<d", self.temperature))
        return key_of(self.seed, temperature, prime, self.number)


def request_of(config: SampleConfig, number: int, prime: bytes, temperature: float | None = None) -> Request:
    """The request that a job's settings make of a file's number and prime; at its first temperature, unless told."""
    heat = config.temperatures[0] if temperature is None else temperature
    return Request(number, config.num_chars, heat, config.top_k, config.top_p, prime, config.seed, config.lines)


@dataclass(frozen=True)
class Piece:
    """What a lane wrote next. `sampled` characters and `nats` (under the model, at temperature 1) count from its start."""

    name: Hashable
    text: bytes
    sampled: int
    nats: float
    ended: bool


class Engine:
    """Samples from a model. `first_tokens` are (token, count) pairs: what documents start with."""

    def __init__(
        self, model: CharRNN, vocab: Vocab, first_tokens: list[tuple[int, int]], precision: Precision = "fp32"
    ) -> None:
        self.vocab, self.precision = vocab, precision
        self.layout = Layout(model, precision)
        counts = np.zeros(len(vocab))
        for token, count in first_tokens:
            counts[token] = count
        self.lowest = int(vocab.has_unknown)
        counts[: self.lowest] = 0
        if not counts.sum():
            counts[self.lowest :] = 1
        self.first = np.cumsum(counts)

    def lanes(self, width: int, stop: bytes = b"", *, lines: bool = False) -> Lanes:
        """Room for `width` texts at once, which end early at `stop` (written too), or consist of lines."""
        return Lanes(self, width, LINE if lines else stop)

    def stream(self, requests: list[Request], stop: bytes = b"", width: int = 64) -> Iterator[Piece]:
        """Sample all requests, primes included, a piece at a time; a Piece's name is the request's index.

        Raises InputError for a prime or stop text outside the vocabulary.
        """
        lanes = self.lanes(min(width, len(requests)), stop, lines=any(request.lines for request in requests))
        waiting = list(enumerate(requests))[::-1]
        while waiting or lanes.running:
            while waiting and lanes.free:
                lanes.start(*waiting.pop())
            yield from lanes.advance()

    def sample(self, requests: list[Request], stop: bytes = b"") -> list[bytes]:
        """The whole texts of all requests, primes included."""
        texts = [bytearray() for _ in requests]
        for piece in self.stream(requests, stop):
            texts[int(str(piece.name))] += piece.text
        return [bytes(text) for text in texts]

    def score(self, tokens: np.ndarray) -> float:
        """Mean nats a token of tokens (T + 1, B), each predicted from those above it, from a zero state."""
        lanes = Lanes(self, tokens.shape[1], b"")
        nats = kernels.score(np.ascontiguousarray(tokens, np.int64), self.layout.kind, self.layout.arrays, *lanes.buffers)
        return float(nats) / (tokens.size - tokens.shape[1])


class Lanes:
    """Texts in the making, `width` at most. The running ones stand in front; a lane that ends gives its place away."""

    def __init__(self, engine: Engine, width: int, stop: bytes) -> None:
        layout, self.engine, self.width = engine.layout, engine, width
        self.stop = _tokens(engine.vocab, stop)
        self.borders = _borders(self.stop)
        self.names: list[Hashable] = []
        self.hidden = np.zeros((layout.layers, width, layout.hidden_size), np.float32)
        self.cell = np.zeros_like(self.hidden)
        self.coarse = np.full((layout.layers, width, padded(layout.hidden_size, GROUP)), 128, np.uint8)
        self.logits = np.zeros((width, padded(layout.symbols, COLUMNS)), np.float32)
        self.scratch = np.zeros((width, layout.outputs), np.float32), np.zeros((width, layout.outputs), np.float32)
        self.numbers = np.zeros((width, len(FIELDS)), np.int64)
        self.keys, self.nats = np.zeros(width, np.uint64), np.zeros(width)
        self.temperatures, self.top_ps = np.ones(width), np.ones(width)
        self.primes = np.zeros(0, np.int64)  # of all requests, one behind the other
        self._places: dict[bytes, int] = {}

    @property
    def running(self) -> int:
        return len(self.names)

    @property
    def free(self) -> int:
        return self.width - self.running

    @property
    def buffers(self) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], np.ndarray]:
        """What kernels.feed works on: state, scratch, logits."""
        return (self.hidden, self.cell, self.coarse), self.scratch, self.logits

    def start(self, name: Hashable, request: Request, saved: bytes | None = None) -> None:
        """Put a request into a free lane; with what `save` gave, where that stood."""
        lane = self.running
        start, stop = self._prime(request)
        numbers = dict.fromkeys(FIELDS, 0) | {
            "left": request.num_chars, "limit": request.num_chars, "top_k": request.top_k, "items": request.lines,
            "prime_at": start - bool(request.lines), "prime_start": start, "prime_stop": stop,
        }  # fmt: skip
        self.hidden[:, lane], self.cell[:, lane], self.logits[lane], self.nats[lane] = 0, 0, 0, 0
        self.keys[lane] = request.key
        self.temperatures[lane], self.top_ps[lane] = request.temperature, request.top_p
        if saved is not None:
            numbers = self._restore(lane, request, saved, numbers)
        self.numbers[lane] = [numbers[field] for field in FIELDS]
        coarse = (self.hidden[:, lane] * np.float32(127) + np.float32(128.5)).astype(np.uint8)
        self.coarse[:, lane, : coarse.shape[1]] = coarse
        self.names.append(name)

    def advance(self) -> list[Piece]:
        """Go on until a lane has ended, or for BLOCK positions; what each lane wrote."""
        layout, tokens = self.engine.layout, np.empty((BLOCK, self.width), np.int64)
        count = kernels.advance(
            BLOCK, self.running, layout.kind, layout.arrays, *self.buffers, self.numbers,
            (self.keys, self.temperatures, self.top_ps), self.primes, self.engine.first, self.stop, self.borders,
            self.engine.lowest, tokens, self.nats,
        )  # fmt: skip
        pieces = []
        for lane, name in enumerate(self.names):
            own, written = self.numbers[lane], tokens[:count, lane]
            text = self.engine.vocab.decode(written[written != kernels.NOTHING])
            pieces.append(Piece(name, text, int(own[kernels.SAMPLED]), float(self.nats[lane]), bool(own[kernels.LEFT] == 0)))
        for lane in reversed(range(self.running)):
            if pieces[lane].ended:
                self._remove(lane)
        return pieces

    def save(self, name: Hashable, more: Mapping[str, Any] | None = None) -> bytes:
        """A running lane as safetensors bytes, from which `start` goes on exactly. `more` is JSON that goes with it."""
        lane = self.names.index(name)
        own = dict(zip(FIELDS, self.numbers[lane].tolist(), strict=True))
        moving = {field: own[field] for field in ("position", "left", "begun", "sampled", "matched", "items")}
        about = {
            "key": int(self.keys[lane]),
            "nats": self.nats[lane].item(),
            "prime_read": own["prime_at"] - own["prime_start"],
        }
        tensors = {"hidden": self.hidden[:, lane].copy(), "cell": self.cell[:, lane].copy(), "logits": self.logits[lane]}
        return safetensors.numpy.save(tensors, {"lane": json.dumps({**(more or {}), **moving, **about})})

    def _restore(self, lane: int, request: Request, saved: bytes, numbers: dict[str, int]) -> dict[str, int]:
        try:
            about, tensors = saved_facts(saved), safetensors.numpy.load(saved)
            self.hidden[:, lane], self.cell[:, lane] = tensors["hidden"], tensors["cell"]
            self.logits[lane], self.nats[lane] = tensors["logits"], about["nats"]
            about["prime_at"] = numbers["prime_start"] + about["prime_read"]
            if about["key"] != request.key:
                raise ValueError("it is another request's")
            return numbers | {field: int(about[field]) for field in FIELDS if field in about}
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"a saved lane cannot be used: {error}; remove it, or give --overwrite.") from None

    def _prime(self, request: Request) -> tuple[int, int]:
        """Where the request's prime stands among all primes; a line feed stands before it for lines."""
        before = LINE if request.lines else b""
        tokens = _tokens(self.engine.vocab, before + request.prime)
        place = self._places.get(before + request.prime)
        if place is None:
            place = self._places[before + request.prime] = len(self.primes)
            self.primes = np.concatenate([self.primes, tokens])
        return place + len(before), place + len(tokens)

    def _remove(self, lane: int) -> None:
        """Move the last running lane into an ended one's place."""
        last = self.running - 1
        self.names[lane] = self.names[last]
        self.names.pop()
        for per_lane in (self.logits, self.numbers, self.keys, self.nats, self.temperatures, self.top_ps):
            per_lane[lane] = per_lane[last]
        for per_layer in (self.hidden, self.cell, self.coarse):
            per_layer[:, lane] = per_layer[:, last]


def open_engine(model: FetchedModel, precision: str, *, use_gpu: bool = False) -> Engine:
    """The engine of a fetched model. Raises InputError or DamagedError for files that are no model."""
    from pipeline.training.checkpoint import load_model

    network, vocab, about = load_model(model.files, model.uri)
    if use_gpu:
        from pipeline.sampling.cuda import CudaEngine

        return CudaEngine(network, vocab, about["first_tokens"])
    return Engine(network, vocab, about["first_tokens"], precision="int8" if precision == "int8" else "fp32")


def saved_facts(saved: bytes) -> dict[str, Any]:
    """The JSON of a saved lane; ValueError, KeyError or TypeError for anything else."""
    size = int.from_bytes(saved[:8], "little")
    facts: dict[str, Any] = json.loads(json.loads(saved[8 : 8 + size])["__metadata__"]["lane"])
    return facts


def _tokens(vocab: Vocab, text: bytes) -> np.ndarray:
    """A text as tokens that the model can write, too. InputError names symbols that it cannot, unknown token or not."""
    symbols = symbols_of(text, vocab.unit)
    if missing := vocab.missing(symbols):
        raise InputError(f"{text[:40]!r} has symbols outside the vocabulary: {describe(missing, vocab.unit)}.")
    return vocab.encode_symbols(symbols).astype(np.int64)


def _borders(stop: np.ndarray) -> np.ndarray:
    """For each beginning of `stop`, the length of its longest proper prefix that is a suffix of it too."""
    borders = np.zeros(len(stop), np.int64)
    length = 0
    for at in range(1, len(stop)):
        while length and stop[at] != stop[length]:
            length = borders[length - 1]
        length += int(stop[at] == stop[length])
        borders[at] = length
    return borders
