"""How sure a mean is: block-bootstrap intervals over one text, differences paired by block.

Neighbouring symbols are not independent, so whole blocks of the text are drawn, with replacement
(Carlstein 1986; Efron and Tibshirani 1993, chapter 8). Blocks are stretches of bytes: models that
count in bytes and in characters, and n-grams, share them. What varies here is the text. Models
trained with another seed would vary too, and no interval of this file says by how much.

Shapes: K blocks, S series (models, n-grams), R resamples.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline import counter_rng

BLOCK_BYTES = 1000
MAX_BLOCKS = 10_000  # longer texts get longer blocks: 2,000 resamples then take a second
FEWEST_BLOCKS = 10  # fewer say next to nothing of how blocks vary
RESAMPLES = 2000
LEVEL = 0.95
_KEY = 0x0B10C5  # any number; it keeps these draws apart from other users of the counter


@dataclass(frozen=True)
class Interval:
    """Where a figure lies for LEVEL of all resamples."""

    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals were made. `over_seeds` is never true: one model is one seed."""

    method: str
    block_bytes: int
    blocks: int
    resamples: int
    level: float
    over_seeds: bool = False

    @property
    def has_intervals(self) -> bool:
        return self.blocks >= FEWEST_BLOCKS

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Blocks:
    """A text cut into blocks of `block_bytes` bytes; the last one takes what is left over."""

    block_bytes: int
    count: int
    text_bytes: int

    @classmethod
    def of(cls, text_bytes: int, block_bytes: int = BLOCK_BYTES) -> Blocks:
        length = max(block_bytes, -(-text_bytes // MAX_BLOCKS))
        return cls(length, max(1, text_bytes // length), text_bytes)

    def sums(self, values: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Sums (K,) of values (N,) by the block of the byte where each begins, `starts` (N,)."""
        block = np.minimum(starts // self.block_bytes, self.count - 1)
        return np.bincount(block, values, minlength=self.count)

    @property
    def sizes(self) -> np.ndarray:
        """Bytes (K,) of each block."""
        sizes = np.full(self.count, self.block_bytes)
        sizes[-1] = self.text_bytes - (self.count - 1) * self.block_bytes
        return sizes

    @property
    def bootstrap(self) -> Bootstrap:
        method = "percentiles of non-overlapping blocks drawn with replacement"
        return Bootstrap(method, self.block_bytes, self.count, RESAMPLES, LEVEL)


def resampled(series: np.ndarray, resamples: int = RESAMPLES) -> np.ndarray:
    """Sums (R, S) over resamples of the blocks of series (K, S).

    Every series is summed over the same draws, so that differences are paired by block.
    """
    blocks = len(series)
    sums = np.empty((resamples, series.shape[1]))
    for resample in range(resamples):
        key = counter_rng.key_of(_KEY, resample)
        (uniform,) = counter_rng.uniforms([key], 0, blocks)
        drawn = np.bincount((uniform * blocks).astype(np.int64), minlength=blocks)
        sums[resample] = drawn @ series
    return sums


def interval(figures: np.ndarray) -> Interval:
    """The interval of a figure's resamples (R,)."""
    low, high = np.quantile(figures, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
