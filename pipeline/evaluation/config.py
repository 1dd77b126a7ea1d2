"""What to evaluate: the `evaluate` section of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pipeline import settings
from pipeline.errors import InputError

MAX_ORDER = 20  # n-grams of the 2015 paper went so far
SPLITS = ("val", "test", "train")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """One evaluation: models, a text, and what stands beside them on the same bytes."""

    GROUPS: ClassVar[dict[str, str]] = {
        "model": "what to evaluate",
        "text": "on which text",
        "baselines": "what stands beside it",
        "precision": "how it is computed",
        "output": "files",
    }
    """the groups of --help: the first setting of each, and its title"""

    model: str
    """models:/NAME@ALIAS, models:/NAME/VERSION, runs:/..., a run id, or the URL of a checkpoint
    folder
    """
    models: str = ""
    """other models to show beside it, with commas: A,B; differences are to the first model"""
    text: str = ""
    """URL of any text, which is scored byte for byte as it is, in place of a split"""
    split: str = ""
    """val (default), test or train: the corpus's split to score"""
    corpus: str = ""
    """NAME or NAME@VERSION: whose split, and whose training text baselines learn; default: the
    model's own
    """
    max_bytes: int = 0
    """score at most so many bytes from the text's beginning; 0: all"""
    baselines: bool = True
    """compressors and n-gram models on the same bytes"""
    warm_bytes: int = 64 << 20
    """bytes of training text that a warm compressor reads first, as far as its window reaches"""
    ngram_bytes: int = 8 << 20
    """bytes of training text that n-gram models are counted on, about 100 bytes of memory each"""
    max_order: int = MAX_ORDER
    """bytes of the longest n-gram, the predicted one included"""
    precision: Literal["fp32", "int8", "auto"] = "fp32"
    """weights of the models; auto: what they are sampled in"""
    num_workers: int = 1
    """Ray tasks at once; 1: in this process, without Ray; figures do not depend on it"""
    output: str = ""
    """folder for the report; default: <root>/evaluations/<model>-<digest>"""

    def __post_init__(self) -> None:
        settings.check(self)
        if self.split not in ("", *SPLITS):
            raise InputError(f"split is {self.split!r}; it must be {', '.join(SPLITS)}.")
        if self.text and self.split:
            raise InputError("text and split are both given; an evaluation takes one of them.")
        for option in ("max_bytes", "warm_bytes", "ngram_bytes"):
            if getattr(self, option) < 0:
                raise InputError(f"{option} is {getattr(self, option)}; it must be at least 0.")
        if self.num_workers < 1:
            raise InputError(f"num_workers is {self.num_workers}; it must be at least 1.")
        if not 1 <= self.max_order <= MAX_ORDER:
            raise InputError(f"max_order is {self.max_order}; it must be from 1 to {MAX_ORDER}.")
        if len(set(self.references)) < len(self.references):
            raise InputError(f"models {', '.join(self.references)} name one twice; name each once.")

    @property
    def references(self) -> tuple[str, ...]:
        """All models, the one that others are compared with first."""
        others = [part.strip() for part in self.models.split(",")]
        return (self.model, *(part for part in others if part))
