"""From streams of nats to figures: means, intervals over blocks, differences paired by block.

Shapes: K blocks, S series, R resamples, as in intervals.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from pipeline.evaluation.intervals import Blocks, Interval, interval, resampled
from pipeline.evaluation.result import Difference, Stream

CURVE_POINTS = 100
_LN2 = math.log(2)


@dataclass(frozen=True)
class Figure:
    """Mean bits, over bytes or over symbols, and its interval."""

    bits: float
    interval: Interval | None


@dataclass(frozen=True)
class Compared:
    """Figures by series, in the order that they came in; differences are to the first series."""

    per_byte: tuple[Figure, ...]
    per_symbol: tuple[Figure, ...]
    differences: tuple[Figure, ...]


def compare(nats: Sequence[np.ndarray], symbols: Sequence[np.ndarray], blocks: Blocks) -> Compared:
    """Figures of series of nats by block (K,) each, of so many symbols by block (K,) each.

    Without enough blocks there are figures and no intervals.
    """
    bits = np.stack(nats, axis=1) / _LN2  # (K, S)
    counts = np.stack(symbols, axis=1)
    columns = [bits, counts, blocks.sizes[:, None]]
    totals = _Sums.of(np.concatenate([each.sum(axis=0) for each in columns])[None])
    drawn = None
    if blocks.bootstrap.has_intervals:
        # Bits, symbols and bytes of the same blocks: one resampling of all columns.
        drawn = _Sums.of(resampled(np.concatenate(columns, axis=1)))

    def figures(of: Callable[[_Sums], np.ndarray]) -> tuple[Figure, ...]:
        resamples = None if drawn is None else of(drawn)
        return tuple(_figure(of(totals), resamples, column) for column in range(len(nats)))

    return Compared(
        figures(attrgetter("per_byte")),
        figures(attrgetter("per_symbol")),
        figures(attrgetter("gaps")),
    )


@dataclass(frozen=True)
class _Sums:
    """Rates (R, S) of resamples; the text itself is a resample of its own."""

    per_byte: np.ndarray
    per_symbol: np.ndarray
    gaps: np.ndarray

    @classmethod
    def of(cls, sums: np.ndarray) -> _Sums:
        """Of sums (R, 2 S + 1): bits and symbols of each series, and bytes."""
        series = sums.shape[1] // 2
        per_byte = sums[:, :series] / sums[:, -1:]
        per_symbol = sums[:, :series] / sums[:, series : 2 * series]
        return cls(per_byte, per_symbol, per_byte - per_byte[:, :1])


def _figure(totals: np.ndarray, resamples: np.ndarray | None, column: int) -> Figure:
    found = None if resamples is None else interval(resamples[:, column])
    return Figure(float(totals[0, column]), found)


def differences(names: Sequence[str], compared: Compared) -> tuple[Difference, ...]:
    """How much more than the first series each of the others needs."""
    return tuple(
        Difference(names[0], name, figure.bits, figure.interval)
        for name, figure in list(zip(names, compared.differences, strict=True))[1:]
    )


def curve(stream: Stream, text_bytes: int) -> tuple[float, ...]:
    """Bits per byte along the text, in at most CURVE_POINTS stretches of equal bytes."""
    points = max(1, min(CURVE_POINTS, text_bytes // 1000))
    edges = np.arange(points + 1) * text_bytes // points
    point = np.searchsorted(edges, stream.starts, side="right") - 1
    nats = np.bincount(point, stream.nats, minlength=points)
    return tuple((nats / _LN2 / np.diff(edges)).tolist())


def bits_per_byte_outside(
    stream: Stream, text_bytes: int, ranges: Sequence[tuple[int, int]]
) -> float | None:
    """Bits per byte of what lies outside of [start, stop) ranges of bytes, such as near-duplicates
    of training text; None where nothing does.
    """
    is_inside = np.zeros(text_bytes, bool)
    for start, stop in ranges:
        is_inside[start:stop] = True
    outside = text_bytes - int(is_inside.sum())
    if not outside:
        return None
    # A symbol belongs to where it begins.
    return float(stream.nats[~is_inside[stream.starts]].sum()) / _LN2 / outside
