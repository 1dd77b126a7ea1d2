"""What to evaluate: the `evaluate` section of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pipeline import settings
from pipeline.errors import InputError
from pipeline.recipes import KINDS
from pipeline.sampling.config import SampleConfig

MAX_ORDER = 20  # n-grams of the 2015 paper went so far
SPLITS = ("val", "test", "train")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """One evaluation: models, a text, and what stands beside them on the same bytes."""

    GROUPS: ClassVar[dict[str, str]] = {
        "model": "what to evaluate",
        "text": "on which text",
        "baselines": "what stands beside it",
        "duplicates": "what lies behind the score",
        "samples": "how well it writes, and what it remembers",
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
    duplicates: bool = True
    """look for text of the split that nearly stands in the training split, and score without it"""
    breakdown: bool = True
    """where the loss lies: words, repeats, quotes and brackets by distance"""
    prove: str = ""
    """URL of a proof file to write: the text, coded with the model's own probabilities"""
    dynamic: bool = False
    """dynamic evaluation: learn while reading; tuned on val, reported on test"""
    dynamic_tokens: int = 20_000
    """symbols of val and of test that dynamic evaluation reads"""
    per_document: bool = False
    """write a table with a row for each document of the split, or of the folder at text"""
    samples: str = field(default="", metadata={"metavar": "URL|N"})
    """folder of samples that sample wrote, or how many to draw for each temperature: checked for
    structure and for what they repeat of training text, beside held-out text
    """
    sample_chars: int = 20_000
    """characters of each sample that is drawn"""
    sample_temperatures: str = "0.5,0.8,1.0"
    """temperatures of samples that are drawn"""
    kind: str = ""
    """what samples are checked as: c, latex, wiki, python, play, names or prose; default: what the
    corpus's recipe says
    """
    compile: bool = False
    """check samples by gcc or TeX as well, whichever their kind needs"""
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
        for option in ("num_workers", "sample_chars", "dynamic_tokens"):
            if getattr(self, option) < 1:
                raise InputError(f"{option} is {getattr(self, option)}; it must be at least 1.")
        self._check_samples()
        if not 1 <= self.max_order <= MAX_ORDER:
            raise InputError(f"max_order is {self.max_order}; it must be from 1 to {MAX_ORDER}.")
        if len(set(self.references)) < len(self.references):
            raise InputError(f"models {', '.join(self.references)} name one twice; name each once.")

    def _check_samples(self) -> None:
        if self.kind not in ("", *KINDS):
            raise InputError(
                f"kind is {self.kind!r}; it must be one of {', '.join(KINDS)}."
                f"{settings.nearest(self.kind, KINDS)}"
            )
        if self.compile and not self.samples:
            raise InputError("compile is for samples; give --samples too.")
        number = self.samples.removeprefix("-")
        if number.isdecimal() and (number != self.samples or not int(number)):
            raise InputError(
                f"samples is {self.samples}; draw at least 1, or give a folder of samples."
            )
        if self.drawn_samples:
            # What sampling refuses is refused before a model is fetched.
            SampleConfig(
                model=self.model,
                num_files=self.drawn_samples,
                num_chars=self.sample_chars,
                temperature=self.sample_temperatures,
            )

    @property
    def studies(self) -> tuple[str, ...]:
        """What is asked for beside scores, by setting."""
        names = ("baselines", "duplicates", "breakdown", "prove", "dynamic", "samples")
        return tuple(name for name in names if getattr(self, name))

    @property
    def drawn_samples(self) -> int:
        """How many samples are drawn for each temperature; 0: none, or a folder holds them."""
        is_number = self.samples.isascii() and self.samples.isdecimal()
        return int(self.samples) if is_number else 0

    @property
    def references(self) -> tuple[str, ...]:
        """All models, the one that others are compared with first."""
        others = [part.strip() for part in self.models.split(",")]
        return (self.model, *(part for part in others if part))
