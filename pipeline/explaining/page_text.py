"""A text as a model reads it, kept for a page: hidden states in 8 bits, predictions, surprise.

The engine's int8 path reads it, whose activations are the hidden states in 8 bits. So a page that
has them, and the weights, computes the same gates and cell states again, bit for bit. Shapes: T
symbols, L layers, H units, C checkpoints of the cell state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.corpora.vocab import Vocab
from pipeline.engine import step
from pipeline.engine.lanes import Lanes
from pipeline.engine.opening import open_engine
from pipeline.errors import InputError
from pipeline.evaluation.section import Section
from pipeline.model.artifact import ModelArtifact

TOP = 5
CHECKPOINT = 100  # symbols between stored cell states: a click computes as many steps at most
MAX_SYMBOLS = 20_000  # of a page: 10,000 with 1,536 units take 21 MB in base64 before zlib


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A row of the table of findings: a unit that tracks something, and how sure that is."""

    label: str
    layer: int
    unit: int
    measure: str
    effect: float
    low: float
    high: float
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        # JSON has no nan: a figure that is none becomes null, and a dash in the page.
        figures = {name: getattr(self, name) for name in ("effect", "low", "high")}
        finite = {name: value if np.isfinite(value) else None for name, value in figures.items()}
        words = {name: getattr(self, name) for name in ("label", "measure", "note")}
        return {**words, "layer": self.layer, "unit": self.unit, **finite}


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """A gate of a layer: the share of symbols at which each unit (H,) is below 0.1, above 0.9."""

    gate: str
    layer: int
    left: np.ndarray
    right: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PageText:
    """What the page of a text shows.

    `tokens` (T,); `hidden` (L, H, T) int8, the state after each symbol times 127; `cells` (C, L, H)
    float32, the cell state before every CHECKPOINT-th symbol (LSTM alone, else C is 0);
    `top_tokens` (T, TOP) and `top_probabilities` are of the symbol behind each; `nats` (T,), nan at
    the first, which is not predicted.
    """

    title: str
    tokens: np.ndarray
    hidden: np.ndarray
    cells: np.ndarray
    top_tokens: np.ndarray
    top_probabilities: np.ndarray
    nats: np.ndarray
    saturation: tuple[Saturation, ...] = ()
    findings: tuple[Finding, ...] = ()
    sections: tuple[Section, ...] = ()  # shown as tables below


def read_text(model: ModelArtifact, text: bytes, title: str) -> PageText:
    """Read a text with a model, in int8, from a zero state.

    Raises InputError for a text that is empty, too long for a page, or outside the vocabulary.
    """
    engine = open_engine(model, "int8")
    tokens = page_tokens(engine.writable.vocab, text, title)
    lanes = engine.lanes(1)
    config = engine.weights.config
    symbols = config.vocab_size
    kept = min(TOP, symbols)
    hidden = np.empty((len(tokens), config.num_layers, config.hidden_size), np.int8)
    top_tokens = np.empty((len(tokens), kept), np.int32)
    top_probabilities = np.empty((len(tokens), kept), np.float32)
    nats = np.full(len(tokens), np.nan, np.float32)
    cells = []
    for at, token in enumerate(tokens):
        if at % CHECKPOINT == 0:
            cells.append(lanes.state.cell[:, 0].copy())
        feed_one(lanes, token)
        activations = lanes.state.int8_activations[:, 0, : config.hidden_size]
        hidden[at] = activations.astype(np.int16) - 128
        logits = lanes.buffers.logits[0, :symbols].astype(np.float64)
        log_probabilities = logits - logits.max()
        log_probabilities -= np.log(np.exp(log_probabilities).sum())
        order = np.argsort(-log_probabilities, kind="stable")[:kept]
        top_tokens[at] = order
        top_probabilities[at] = np.exp(log_probabilities[order])
        if at + 1 < len(tokens):
            nats[at + 1] = -log_probabilities[tokens[at + 1]]
    has_cells = config.traits.states > 1
    return PageText(
        title=title,
        tokens=tokens,
        hidden=np.ascontiguousarray(hidden.transpose(1, 2, 0)),
        cells=np.stack(cells) if has_cells else np.zeros((0, *hidden.shape[1:]), np.float32),
        top_tokens=top_tokens,
        top_probabilities=top_probabilities,
        nats=nats,
    )


def page_tokens(vocab: Vocab, text: bytes, title: str) -> np.ndarray:
    """The tokens (T,) of a page. InputError for a text that has no page."""
    try:
        tokens = vocab.encode(text).astype(np.int64)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{title} is not UTF-8 at byte {error.start:,}, and the model reads characters; "
            "give UTF-8, or a model of bytes."
        ) from None
    if not 1 <= len(tokens) <= MAX_SYMBOLS:
        raise InputError(
            f"{title} has {len(tokens):,} symbols; a page shows 1 to {MAX_SYMBOLS:,}. "
            "Lower --page_bytes, or give a part of the text."
        )
    return tokens


def feed_one(lanes: Lanes, token: int) -> None:
    """One step of the first lane."""
    weights = lanes.weights
    step.feed(
        np.array([token]),
        1,
        weights.config.traits.code,
        weights.arrays,
        lanes.state,
        lanes.buffers,
    )
