"""A network with a unit that is known to track quotes, and text for it.

The unit toggles: at a quote it forgets, and lets in the opposite of what it showed; elsewhere it
keeps what it has. No other unit reaches it. All others are untrained.
"""

from __future__ import annotations

import random
from typing import Any

import torch

from pipeline.corpora.vocab import Vocab
from pipeline.model.about import CorpusReference, ModelAbout
from pipeline.model.artifact import ModelArtifact, artifact_files, check_artifact
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize

VOCAB = Vocab("byte", sorted(b'\n "abcdefgh'))
UNIT = 3
SIZE = 8


def network(cell: Any = "lstm", layers: int = 1, seed: int = 1, size: int = SIZE) -> CharRNN:
    config = ModelConfig(vocab_size=len(VOCAB), cell=cell, num_layers=layers, hidden_size=size)
    made = CharRNN(config)
    initialize(made, seed)
    return made.eval()


def planted() -> CharRNN:
    """One LSTM layer; unit UNIT tracks quotes."""
    made = network()
    (quote,) = VOCAB.encode('"').tolist()
    weight_ih, weight_hh, bias_ih, _ = made.layers[0].parameters()
    with torch.no_grad():
        rows = [gate * SIZE + UNIT for gate in range(4)]  # input, forget, cell, output
        for row, usual, at_quote in zip(rows, (-20, 20, 0, 20), (20, -20, 0, 20), strict=True):
            weight_ih[row] = usual
            weight_ih[row, quote] = at_quote
            weight_hh[row] = 0
            bias_ih[row] = 0
        # From 0 the first quote gives a positive state; every one behind it the opposite sign.
        weight_hh[rows[2], UNIT] = -3
        bias_ih[rows[2]] = 0.5
    return made


def artifact(made: CharRNN) -> ModelArtifact:
    about = ModelAbout(model=made.config, corpus=CorpusReference("planted", "1", "0"))
    return check_artifact("planted", "1", "memory", artifact_files(made, VOCAB, about))


def text(symbols: int, seed: int = 1) -> bytes:
    """Words in lines, some of them between quotes of any length: no n-gram knows which."""
    draws = random.Random(seed)
    parts: list[str] = []
    size = 0
    while size < symbols:
        word = "".join(draws.choices("abcdefgh", k=draws.randint(1, 6)))
        mark = '"' if draws.random() < 0.08 else ""
        part = mark + word + draws.choices(" \n", [8, 1])[0]
        parts.append(part)
        size += len(part)
    return "".join(parts)[:symbols].encode()
