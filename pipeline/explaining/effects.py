"""How well a number tells a label: AUROC for a label that is on or off, rank correlation else.

Both are functions of the number's ranks alone, so that a unit's scale does not matter. With mean
ranks of the symbols where the label is on and off, AUROC = 1/2 + (mean on - mean off) / T, ties
counted half (Mann and Whitney 1947); and it is a linear function of their correlation. The sign is
kept: an AUROC below 1/2 tells the label just as well, the other way round.

Shapes: T symbols, S series (units), K blocks, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.intervals import (
    FEWEST_BLOCKS,
    Blocks,
    Interval,
    interval,
    resampled,
)
from pipeline.explaining.labels.label import Label, LabelKind

BLOCK = 1000  # symbols: a line, a quote and most comments are shorter


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks (T,) float64 from 1, ties at their mean."""
    _, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[numbers]


def ranks_of_bytes(values: np.ndarray) -> np.ndarray:
    """The same of int8, in one pass and without sorting."""
    counts = np.bincount(values.astype(np.int64) + 128, minlength=256)
    means = np.cumsum(counts) - (counts - 1) / 2
    return means[values.astype(np.int64) + 128]


def standardized(values: np.ndarray) -> np.ndarray:
    """Values (..., T) less their mean, of length 1; zeros where all are equal."""
    centred = values - values.mean(axis=-1, keepdims=True)
    lengths = np.sqrt((centred**2).sum(axis=-1, keepdims=True))
    return np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 1e-9)


def target(label: Label) -> np.ndarray:
    """What the ranks of a unit are correlated with, (T,) float64."""
    values = label.values.astype(np.float64)
    return values if label.kind == "binary" else ranks(values)


def effect(kind: LabelKind, ranked: np.ndarray, wanted: np.ndarray) -> float:
    """The AUROC, or the correlation, of ranks (T,) with a label's `target` (T,)."""
    return float(_from_sums(kind, _moments(kind, ranked, wanted).sum(axis=0)[None], len(ranked))[0])


def scaled(kind: LabelKind, figure: float, sign: int) -> float:
    """A figure turned so that more is better: by the sign that was found on other text."""
    if kind == "binary":
        return figure if sign > 0 else 1 - figure
    return sign * figure


def all_figures(series: np.ndarray, labels: list[Label]) -> np.ndarray:
    """The figures (S, K) of all series (S, T), int8, with all labels (T,)."""
    wanted = standardized(np.stack([target(label) for label in labels]))  # (K, T)
    is_binary = np.array([label.kind == "binary" for label in labels])
    shares = np.array([float(label.values.mean()) for label in labels])
    spreads = np.sqrt(np.where(is_binary, shares * (1 - shares), 1.0))
    figures = np.empty((len(series), len(labels)))
    for index, values in enumerate(series):
        ranked = ranks_of_bytes(values)
        correlations = wanted @ standardized(ranked)
        # From a correlation to a difference of mean ranks: the spreads of both go out again.
        differences = correlations * ranked.std() / np.maximum(spreads, 1e-9) / len(ranked)
        figures[index] = np.where(is_binary, 0.5 + differences, correlations)
    # A perfect one is off by rounding.
    return np.clip(figures, np.where(is_binary, 0.0, -1.0), 1.0)


@dataclass(frozen=True)
class Asked:
    """A figure whose interval is wanted: ranks and a label's target (T,), and the sign found."""

    kind: LabelKind
    ranked: np.ndarray
    wanted: np.ndarray
    sign: int


def intervals(asked: Iterable[Asked], size: int) -> list[Interval | None]:
    """Block-bootstrap intervals of scaled figures of `size` symbols; None for too few blocks.

    Ranks are those of the whole text: a resample of blocks has the same ones, near enough.
    """
    blocks = Blocks.of(size, BLOCK)
    starts = np.arange(blocks.count) * blocks.block_bytes
    kinds = []
    sums = []
    for each in asked:
        kinds.append((each.kind, each.sign))
        sums.append(np.add.reduceat(_moments(each.kind, each.ranked, each.wanted), starts))
    if blocks.count < FEWEST_BLOCKS or not sums:
        return [None] * len(kinds)
    drawn = resampled(np.concatenate(sums, axis=1))  # one set of draws for all
    found: list[Interval | None] = []
    for index, (kind, sign) in enumerate(kinds):
        figures = _from_sums(kind, drawn[:, 6 * index : 6 * index + 6], size)
        figures = figures[np.isfinite(figures)]
        # Ranks of the whole text let a resample's AUROC leave 0 to 1, where no AUROC can be.
        figures = np.clip(figures, 0.0 if kind == "binary" else -1.0, 1.0)
        turned = interval(np.array([scaled(kind, float(figure), sign) for figure in figures]))
        found.append(turned)
    return found


def _moments(kind: LabelKind, ranked: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What a figure is made of, by symbol (T, 6): 1, x, y, xx, yy, xy."""
    x = ranked - ranked.mean()
    # Ranks are centred for the precision of their squares; of on and off, y counts what is on.
    y = wanted if kind == "binary" else wanted - wanted.mean()
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def _from_sums(kind: LabelKind, sums: np.ndarray, symbols: int) -> np.ndarray:
    """Figures (R,) from sums of moments (R, 6). nan where a resample has no label, or one alone."""
    count, x, y, xx, yy, xy = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        if kind == "binary":
            return 0.5 + (xy / y - (x - xy) / (count - y)) / symbols
        covariance = xy - x * y / count
        spread = (xx - x * x / count) * (yy - y * y / count)
        return np.where(spread > 0, covariance / np.sqrt(spread), 0.0)
