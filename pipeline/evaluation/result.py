"""What an evaluation comes to: scores of models and of what stands beside them, on one text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pipeline.evaluation.compressors import CompressorScore
from pipeline.evaluation.intervals import Bootstrap, Interval
from pipeline.evaluation.ngrams import NgramScore
from pipeline.evaluation.scores import Unknown
from pipeline.evaluation.study import Study
from pipeline.evaluation.texts import Origin

FORMAT = 1  # of report.json


@dataclass(frozen=True, kw_only=True)
class ModelScore:
    """A model's score on the text. Figures are means; nats and bits_per_char are by symbol, which
    `unit` says is a byte or a character.

    `rule` is by which rule the text was held out, `may_have_learnt` why the model may know it
    nevertheless. `curve` is bits per byte along the text, in stretches of equal bytes.
    """

    model: str
    weights_sha256: str
    corpus: str
    parameters: int
    precision: str
    unit: str
    lanes: int
    symbols: int
    nats: float
    bits_per_char: float
    bits_per_byte: float
    bits_per_char_interval: Interval | None
    bits_per_byte_interval: Interval | None
    unknown: Unknown
    rule: str
    may_have_learnt: str
    curve: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"curve": list(self.curve)}


@dataclass(frozen=True)
class Difference:
    """How many bits per byte `other` needs more than `model`, paired by block."""

    model: str
    other: str
    bits_per_byte: float
    interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Training:
    """The training text that baselines learned from: where it is from, and the bytes of it that
    n-gram models were counted on.
    """

    source: str
    bytes: int
    ngram_bytes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Stream:
    """A model's nats (N,) by symbol of the text, and the byte where each begins (N,)."""

    nats: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that was found. `streams` by model are for whoever breaks scores down; they are
    not in the JSON.
    """

    text: Origin
    bootstrap: Bootstrap
    models: tuple[ModelScore, ...]
    differences: tuple[Difference, ...]
    compressors: tuple[CompressorScore, ...] = ()
    ngrams: tuple[NgramScore, ...] = ()
    training: Training | None = None
    streams: Mapping[str, Stream] = field(default_factory=dict)
    studies: tuple[Study, ...] = ()

    @property
    def best_ngram(self) -> NgramScore | None:
        return min(self.ngrams, key=lambda score: score.bits_per_byte, default=None)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "text": self.text.to_json(),
            "bootstrap": self.bootstrap.to_json(),
            "models": [score.to_json() for score in self.models],
            "differences": [difference.to_json() for difference in self.differences],
            "compressors": [score.to_json() for score in self.compressors],
            "ngrams": [score.to_json() for score in self.ngrams],
            "training": self.training.to_json() if self.training else None,
            "studies": {study.name: study.found for study in self.studies},
        }
