"""A small untrained network and its engine: what it writes is noise, which is enough here."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.corpora.vocab import Vocab
from pipeline.engine import kernels
from pipeline.engine.engine import Engine, engine_of
from pipeline.engine.request import Piece, Request
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize

VOCAB = Vocab("byte", [10, *range(97, 109)])  # a line feed, and the letters a to l
FIRST_TOKENS = ((1, 3), (3, 1))  # documents start with "a" three times, once with "c"


def network(
    cell: Any = "lstm", *, embedding: int = 0, symbols: int = len(VOCAB), size: int = 24
) -> CharRNN:
    """Two layers of `size` units."""
    made = CharRNN(
        ModelConfig(
            vocab_size=symbols,
            cell=cell,
            num_layers=2,
            hidden_size=size,
            embedding_size=embedding,
        )
    )
    initialize(made, 1)
    return made


def engine(
    cell: Any = "lstm", *, vocab: Vocab = VOCAB, precision: Any = "fp32", **shape: int
) -> tuple[Engine, CharRNN]:
    """The engine of such a network, and the network."""
    model = network(cell, symbols=len(vocab), **shape)
    return engine_of(model, vocab, FIRST_TOKENS, precision), model


def fed(made: Engine, tokens: np.ndarray) -> np.ndarray:
    """Logits (T, B, V) after each of tokens (T, B)."""
    lanes = made.lanes(tokens.shape[1])
    config = made.weights.config
    steps = []
    for row in tokens.astype(np.int64):
        kernels.feed(
            row, len(row), config.traits.code, made.weights.arrays, lanes.state, lanes.buffers
        )
        steps.append(lanes.buffers.logits[:, : config.vocab_size].copy())
    return np.stack(steps)


def last_pieces(made: Engine, requests: list[Request], stop: bytes = b"") -> dict[int, Piece]:
    """The piece that each text ended with, by the request's index."""
    return {int(str(piece.name)): piece for piece in made.stream(requests, stop) if piece.ended}
