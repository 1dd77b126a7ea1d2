"""The sampling engine: lanes of a fixed width stepped together, one character each, in plain torch on the CPU.

A lane's text depends on its own request alone: every step is the same product over a batch of LANE_WIDTH rows whatever
the other lanes hold, and random numbers are keyed by request and position. The first layer's input product is a table.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.corpora.vocab import Vocab
from pipeline.counter_rng import key_of, uniforms
from pipeline.training.model import CharRNN

LANE_WIDTH = 8  # rows of every product; unused ones are padding
BLOCK = 1024  # characters between hand-overs to the caller


@dataclass(frozen=True)
class Request:
    """One text to sample: `number` tells the files of a job apart; `prime` is text in the model's unit."""

    number: int
    num_chars: int
    temperature: float = 1.0
    top_k: int = 0
    prime: bytes = b""
    seed: int = 1

    @property
    def key(self) -> int:
        """The key of this request's random numbers."""
        prime = int.from_bytes(hashlib.sha256(self.prime).digest()[:8], "big")
        (temperature,) = struct.unpack("<Q", struct.pack("<d", self.temperature))
        return key_of(self.seed, temperature, prime, self.number)


class Engine:
    """Samples from a model. `first_tokens` are (token, count) pairs: what documents start with."""

    def __init__(self, model: CharRNN, vocab: Vocab, first_tokens: list[tuple[int, int]]) -> None:
        self.vocab, self.cell = vocab, model.config.cell
        weights = {name: value.detach().float() for name, value in model.state_dict().items()}
        self.layers = [_Layer(weights, index, self.cell) for index in range(model.config.num_layers)]
        self.table = self.layers[0].input_table(weights.get("embedding.weight"))  # (V, gates * H)
        self.head, self.head_bias = weights["head.weight"].t().contiguous(), weights["head.bias"]
        self.hidden_size = model.config.hidden_size
        counts = np.zeros(len(vocab))
        for token, count in first_tokens:
            counts[token] = count
        if vocab.has_unknown:
            counts[0] = 0
        self.first = np.cumsum(counts if counts.sum() else np.ones(len(vocab)))

    @torch.inference_mode()
    def stream(self, requests: list[Request]) -> Iterator[tuple[int, np.ndarray, float]]:
        """Sample up to LANE_WIDTH requests side by side.

        Yields (index of the request, tokens, summed nats of these tokens under the model), a block at a time, in order
        for each request. Primes are read, not yielded. Raises InputError for a prime outside the vocabulary.
        """
        if not 0 < len(requests) <= LANE_WIDTH:
            raise ValueError(f"{len(requests)} requests for {LANE_WIDTH} lanes")
        lanes = _Lanes(self, requests)
        while lanes.position < lanes.end:
            yield from lanes.block(min(BLOCK, lanes.end - lanes.position))

    def initial_state(self) -> list[list[torch.Tensor]]:
        count = 2 if self.cell == "lstm" else 1
        return [[torch.zeros(LANE_WIDTH, self.hidden_size) for _ in range(count)] for _ in self.layers]

    def step(self, tokens: torch.Tensor, state: list[list[torch.Tensor]]) -> torch.Tensor:
        """Feed one token to each lane: tokens (W,), state updated in place, to logits (W, V)."""
        below = self.table[tokens]  # (W, gates * H)
        for index, layer in enumerate(self.layers):
            if index:
                below = torch.addmm(layer.input_bias, state[index - 1][0], layer.input)
            layer.step(below, state[index])
        return torch.addmm(self.head_bias, state[-1][0], self.head)


class _Layer:
    """One recurrent layer's weights, laid out for row-major products; gate order is torch.nn's."""

    def __init__(self, weights: dict[str, torch.Tensor], index: int, cell: str) -> None:
        self.cell = cell
        name = f"layers.{index}."
        self.input = weights[f"{name}weight_ih_l0"].t().contiguous()  # (in, gates * H)
        self.recurrent = weights[f"{name}weight_hh_l0"].t().contiguous()  # (H, gates * H)
        self.input_bias, self.recurrent_bias = weights[f"{name}bias_ih_l0"], weights[f"{name}bias_hh_l0"]

    def input_table(self, embedding: torch.Tensor | None) -> torch.Tensor:
        """Input product of every token: (V, gates * H)."""
        products = self.input if embedding is None else embedding @ self.input
        return products + self.input_bias

    def step(self, below: torch.Tensor, state: list[torch.Tensor]) -> None:
        """below (W, gates * H) is the input product; replaces the state's tensors."""
        recurrent = torch.addmm(self.recurrent_bias, state[0], self.recurrent)
        if self.cell == "lstm":
            i, f, g, o = (below + recurrent).chunk(4, 1)
            cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
            state[0], state[1] = o.sigmoid() * cell.tanh(), cell
        elif self.cell == "gru":
            (xr, xz, xn), (hr, hz, hn) = below.chunk(3, 1), recurrent.chunk(3, 1)
            reset, update = (xr + hr).sigmoid(), (xz + hz).sigmoid()
            new = (xn + reset * hn).tanh()
            state[0] = new + update * (state[0] - new)
        else:
            state[0] = (below + recurrent).tanh()


class _Lanes:
    """The running texts of up to LANE_WIDTH requests. Position p is the p-th token fed or sampled, from 0."""

    def __init__(self, engine: Engine, requests: list[Request]) -> None:
        self.engine, self.requests = engine, requests
        self.primes = [engine.vocab.encode(request.prime).astype(np.int64) for request in requests]
        longest = max(len(prime) for prime in self.primes)
        self.forced = np.full((longest, LANE_WIDTH), -1, np.int64)
        for lane, prime in enumerate(self.primes):
            self.forced[: len(prime), lane] = prime
        self.ends = [len(prime) + request.num_chars for prime, request in zip(self.primes, requests, strict=True)]
        self.end, self.position = max(self.ends), 0
        self.keys = [request.key for request in requests] + [0] * (LANE_WIDTH - len(requests))
        self.state = engine.initial_state()
        self.logits: torch.Tensor | None = None
        temperatures = torch.ones(LANE_WIDTH, 1, dtype=torch.float64)
        self.greedy = torch.zeros(LANE_WIDTH, dtype=torch.bool)
        for lane, request in enumerate(requests):
            self.greedy[lane] = request.temperature == 0
            temperatures[lane] = request.temperature or 1.0
        self.temperatures = temperatures

    def block(self, count: int) -> Iterator[tuple[int, np.ndarray, float]]:
        """Advance `count` positions; yield what each request sampled in them."""
        numbers = uniforms(self.keys, self.position, count)
        tokens = np.empty((count, LANE_WIDTH), np.int64)
        nats = np.zeros((count, LANE_WIDTH))
        for at in range(count):
            tokens[at], nats[at] = self._next(numbers[:, at])
            self.position += 1
        low, high = self.position - count, self.position
        for lane, prime in enumerate(self.primes):
            own = slice(max(len(prime), low) - low, max(0, min(self.ends[lane], high) - low))
            if own.start < own.stop:
                yield lane, tokens[own, lane], float(nats[own, lane].sum())

    def _next(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One position for every lane: the prime's token, or a sampled one, with its nats; then feed it."""
        if self.logits is None:
            first = self.engine.first
            chosen = np.searchsorted(first, numbers * first[-1], side="right")
            nats = -np.log(np.diff(first, prepend=0)[chosen] / first[-1])
        else:
            chosen, nats = self._sample(self.logits, torch.from_numpy(numbers))
        if self.position < len(self.forced):
            forced = self.forced[self.position]
            chosen = np.where(forced >= 0, forced, chosen)
        self.logits = self.engine.step(torch.from_numpy(chosen), self.state)
        return chosen, nats

    def _sample(self, logits: torch.Tensor, numbers: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Draw from logits (W, V) by inverting the cumulative distribution at `numbers` (W,)."""
        logits = logits.double()
        if self.engine.vocab.has_unknown:
            logits[:, 0] = -torch.inf  # an unknown token has no text
        scaled = logits / self.temperatures
        for lane, request in enumerate(self.requests):
            if 0 < request.top_k < scaled.shape[1]:
                scaled[lane, scaled[lane] < scaled[lane].topk(request.top_k).values[-1]] = -torch.inf
        heap = torch.softmax(scaled, 1).cumsum(1)
        drawn = torch.searchsorted(heap, (numbers * heap[:, -1]).unsqueeze(1), right=True)[:, 0]
        chosen = torch.where(self.greedy, logits.argmax(1), drawn)
        nats = -torch.log_softmax(logits, 1).gather(1, chosen.unsqueeze(1))[:, 0]
        return chosen.numpy(), nats.numpy()
