"""The sampling engine: a model ready to write, whose lanes one compiled loop steps together, one
thread, refilled as they end.

A lane's text depends on its own request alone, bit for bit: every lane's arithmetic has an order of
its own (tiles.py, kernels.py), and random numbers are keyed by request and position. So it does not
matter which lanes are stepped together, how many, on how many actors or threads, or whether a lane
was saved and taken up again elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipeline.corpora.vocab import Vocab
from pipeline.engine.lanes import Lanes, Writable
from pipeline.engine.request import LINE, Piece, Request
from pipeline.engine.weights import Weights
from pipeline.model.about import Precision

if TYPE_CHECKING:
    from pipeline.model.network import CharRNN

# Lanes at once. docs/design.md: in float32, 64 lanes are at the processor's measured ceiling, so
# more would only make each slower.
WIDTH = 64


class Engine:
    """Samples from a model, and scores texts. Threads may share it: each has lanes of its own."""

    def __init__(self, weights: Weights, writable: Writable) -> None:
        self.weights = weights
        self.writable = writable

    def lanes(self, width: int, stop: bytes = b"", *, lines: bool = False) -> Lanes:
        """Room for `width` texts at once, which end early at `stop` (written too), or consist of
        lines.
        """
        return Lanes(self.weights, self.writable, width, LINE if lines else stop)

    def stream(
        self, requests: list[Request], stop: bytes = b"", width: int = WIDTH
    ) -> Iterator[Piece]:
        """Sample all requests, primes included, a piece at a time; a Piece's name is the request's
        index.

        Raises InputError for a prime or stop text outside the vocabulary.
        """
        has_lines = any(request.lines for request in requests)
        lanes = self.lanes(min(width, len(requests)), stop, lines=has_lines)
        waiting = list(enumerate(requests))[::-1]  # the first at the end, where pop takes it
        while waiting or lanes.running:
            # A lane that ended takes the next request at once: a step reads all weights, however
            # few lanes share it.
            while waiting and lanes.free:
                lanes.start(*waiting.pop())
            yield from lanes.advance()

    def sample(self, requests: list[Request], stop: bytes = b"") -> list[bytes]:
        """The whole texts of all requests, primes included."""
        texts = [bytearray() for _ in requests]
        for piece in self.stream(requests, stop):
            texts[int(str(piece.name))] += piece.text  # a name is any hashable; here the index
        return [bytes(text) for text in texts]

    def score(self, tokens: np.ndarray) -> float:
        """Mean nats a token of tokens (T + 1, B), each predicted from those above it, from a zero
        state.
        """
        predicted = tokens.size - tokens.shape[1]  # the first row is read, not predicted
        return self.lanes(tokens.shape[1]).score(tokens) / predicted


def engine_of(
    network: CharRNN,
    vocab: Vocab,
    first_tokens: tuple[tuple[int, int], ...] = (),
    precision: Precision = "fp32",
) -> Engine:
    """The engine of a network as it stands. `first_tokens` are (token, count) pairs: what documents
    start with.
    """
    state = network.state_dict()
    weights = {name: value.detach().float().cpu().numpy() for name, value in state.items()}
    return Engine(Weights(network.config, weights, precision), Writable.of(vocab, first_tokens))
