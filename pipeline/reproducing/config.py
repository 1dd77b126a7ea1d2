"""How far a recipe is reproduced: the settings of its `reproduce` section. Claims stand beside them
in a recipe, and are read by claims.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pipeline import settings

STAGES = ("corpus", "train", "sample", "evaluate", "explain")


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """The stages that run; all other settings are in the recipe's other sections."""

    GROUPS: ClassVar[dict[str, str]] = {"until": "how far"}
    """the groups of --help: the first setting of each, and its title"""

    until: Literal["sample", "evaluate", "explain"] = "explain"
    """the last stage: sample, evaluate or explain; claims about later ones are not judged"""

    def __post_init__(self) -> None:
        settings.check(self)

    def runs(self, stage: str) -> bool:
        return STAGES.index(stage) <= STAGES.index(self.until)
