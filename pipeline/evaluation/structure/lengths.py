"""How long things are in the corpus, so that a sample's can be held against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Lengths:
    """Lengths of a corpus's sentences or speeches, in order of size."""

    values: np.ndarray

    @classmethod
    def of(cls, values: Sequence[int]) -> Lengths:
        return cls(np.sort(np.array(values, np.int64)))

    @cached_property
    def middle(self) -> tuple[int, int]:
        """The least and the greatest length of the middle 90%."""
        if not len(self.values):
            return 0, 0
        low, high = np.quantile(self.values, [0.05, 0.95], method="nearest")
        return int(low), int(high)

    def holds(self, length: int) -> bool:
        low, high = self.middle
        return low <= length <= high

    def distance(self, lengths: Sequence[int]) -> float | None:
        """The greatest difference between the two cumulative distributions; 0 is alike, 1 apart.

        None where either has no length.
        """
        if not len(lengths) or not len(self.values):
            return None
        others = np.sort(np.array(lengths, np.int64))
        places = np.concatenate([self.values, others])
        ours = np.searchsorted(self.values, places, side="right") / len(self.values)
        theirs = np.searchsorted(others, places, side="right") / len(others)
        return float(np.abs(ours - theirs).max())

    def notes(self) -> tuple[str, ...]:
        if not len(self.values):
            return ("The corpus has none of what is measured here.",)
        low, high = self.middle
        return (f"90% of the corpus's lengths are from {low} to {high} words.",)
