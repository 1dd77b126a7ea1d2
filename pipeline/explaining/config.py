"""What to explain: the `explain` section of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline import settings
from pipeline.errors import InputError
from pipeline.recipes import KINDS

SPLITS = ("val", "test", "train")


@dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """One explanation: a model, a text, and which pages are written of them."""

    GROUPS: ClassVar[dict[str, str]] = {
        "model": "what to explain",
        "text": "on which text",
        "finder_bytes": "the cell finder",
        "play": "other pages",
        "num_workers": "where it runs, and files",
    }
    """the groups of --help: the first setting of each, and its title"""

    model: str
    """models:/NAME@ALIAS, models:/NAME/VERSION, runs:/..., a run id, or the URL of a checkpoint
    folder
    """
    text: str = ""
    """URL of any text, in place of a split"""
    split: str = ""
    """val (default), test or train: the corpus's split"""
    corpus: str = ""
    """NAME or NAME@VERSION: whose split; default: the model's own"""
    kind: str = ""
    """what labels are computed as: c, latex, wiki, python, play, names or prose; default: what the
    corpus's recipe says, else prose
    """
    page_bytes: int = 10_000
    """bytes from the text's beginning that the page shows"""
    finder_bytes: int = 100_000
    """bytes from the text's beginning that cells are looked for on; 0: no finder"""
    seed: int = 1
    """seed of the untrained network and of the random units that findings are held against"""
    play: bool = False
    """write only the page in which the model writes and scores"""
    evolution: str = ""
    """run id or URL of a run with samples on the way: write the page of what it learned when"""
    num_workers: int = 1
    """Ray tasks at once; 1: in this process, without Ray; figures do not depend on it"""
    output: str = ""
    """folder for the pages; default: <root>/explanations/<model>-<digest>"""

    def __post_init__(self) -> None:
        settings.check(self)
        if self.split not in ("", *SPLITS):
            raise InputError(f"split is {self.split!r}; it must be {', '.join(SPLITS)}.")
        if self.text and self.split:
            raise InputError("text and split are both given; an explanation takes one of them.")
        if self.kind not in ("", *KINDS):
            raise InputError(
                f"kind is {self.kind!r}; it must be one of {', '.join(KINDS)}."
                f"{settings.nearest(self.kind, KINDS)}"
            )
        for option in ("page_bytes", "num_workers"):
            if getattr(self, option) < 1:
                raise InputError(f"{option} is {getattr(self, option)}; it must be at least 1.")
        if self.finder_bytes < 0:
            raise InputError(f"finder_bytes is {self.finder_bytes}; it must be at least 0.")
        if self.play and self.evolution:
            raise InputError("play and evolution are both given; a job writes one of them.")
