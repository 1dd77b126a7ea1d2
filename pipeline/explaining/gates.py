"""How open a model's gates are, and how its activations are spread, over a whole text.

After Karpathy, Johnson and Fei-Fei (2015, figure 3): the share of time that a gate is left- or
right-saturated, unit by unit. Counts add up over stretches, in whole numbers, so that the order of
stretches and the number of workers change nothing. Shapes: L layers, N characters, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

LEFT = 0.1  # a gate below it is closed
RIGHT = 0.9  # above it, open
BINS = 40  # of a histogram, over [-1, 1]


@dataclass(frozen=True)
class Saturation:
    """A gate of a layer: the share of time that each unit's is below LEFT, and above RIGHT."""

    layer: int
    gate: str
    left: tuple[float, ...]
    right: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "gate": self.gate,
            "left": [round(share, 4) for share in self.left],
            "right": [round(share, 4) for share in self.right],
        }


@dataclass(frozen=True)
class Histogram:
    """How often a layer's `signal` (hidden, or tanh of the cell) lay in each of BINS equal bins
    of [-1, 1].
    """

    layer: int
    signal: str
    counts: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {"layer": self.layer, "signal": self.signal, "counts": list(self.counts)}


class Counts:
    """Counts over some characters: they add up, and go through JSON."""

    def __init__(self) -> None:
        self.characters = 0
        self.closed: dict[str, np.ndarray] = {}  # (L, H) by gate
        self.open: dict[str, np.ndarray] = {}
        self.binned: dict[str, np.ndarray] = {}  # (L, BINS) by signal

    def look(self, gates: Mapping[str, np.ndarray], signals: Mapping[str, np.ndarray]) -> None:
        """Count gates and signals (L, N, H) of N characters."""
        for name, values in gates.items():
            _add(self.closed, name, (values < LEFT).sum(axis=1))
            _add(self.open, name, (values > RIGHT).sum(axis=1))
        for name, values in signals.items():
            _add(self.binned, name, np.stack([_binned(layer) for layer in values]))
        self.characters += next(iter(signals.values())).shape[1]

    def add(self, value: dict[str, Any]) -> None:
        """Add the counts of a to_json."""
        self.characters += value["characters"]
        for name in ("closed", "open", "binned"):
            for key, counts in value[name].items():
                _add(getattr(self, name), key, np.array(counts))

    def to_json(self) -> dict[str, Any]:
        tables = {
            name: {key: counts.tolist() for key, counts in getattr(self, name).items()}
            for name in ("closed", "open", "binned")
        }
        return {"characters": self.characters, **tables}

    def saturations(self) -> tuple[Saturation, ...]:
        """By layer, then gate."""
        found = []
        for name, closed in self.closed.items():
            left = closed / max(1, self.characters)
            right = self.open[name] / max(1, self.characters)
            for layer in range(len(left)):
                shares = (tuple(left[layer].tolist()), tuple(right[layer].tolist()))
                found.append(Saturation(layer, name, *shares))
        return tuple(sorted(found, key=lambda each: each.layer))

    def histograms(self) -> tuple[Histogram, ...]:
        """By layer, then signal."""
        found = [
            Histogram(layer, name, tuple(counts[layer].tolist()))
            for name, counts in self.binned.items()
            for layer in range(len(counts))
        ]
        return tuple(sorted(found, key=lambda each: each.layer))


def _binned(values: np.ndarray) -> np.ndarray:
    number = ((values.ravel() + 1) * (BINS / 2)).astype(np.int64)
    # 1 itself belongs to the last bin.
    return np.bincount(np.clip(number, 0, BINS - 1), minlength=BINS)


def _add(table: dict[str, np.ndarray], name: str, counts: np.ndarray) -> None:
    table[name] = table[name] + counts if name in table else counts
