"""From streams of nats to figures: means, intervals over blocks, differences paired by block.

Shapes: K blocks, S series, R resamples, as in intervals.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    series = len(nats)
    drawn = None
    if blocks.bootstrap.has_intervals:
        # One resampling of all columns: bits, symbols and bytes of the same blocks.
        drawn = resampled(np.column_stack([bits, counts, blocks.sizes]))
    text_bytes = int(blocks.sizes.sum())
    totals = bits.sum(axis=0)
    per_byte = []
    per_symbol = []
    differences = []
    for column in range(series):
        by_byte = by_symbol = difference = None
        if drawn is not None:
            rates = drawn[:, column] / drawn[:, -1]
            by_byte = interval(rates)
            by_symbol = interval(drawn[:, column] / drawn[:, series + column])
            difference = interval(rates - drawn[:, 0] / drawn[:, -1])
        per_byte.append(Figure(float(totals[column]) / text_bytes, by_byte))
        symbols_read = int(counts[:, column].sum())
        per_symbol.append(Figure(float(totals[column]) / symbols_read, by_symbol))
        gap = float(totals[column] - totals[0]) / text_bytes
        differences.append(Figure(gap, difference))
    return Compared(tuple(per_byte), tuple(per_symbol), tuple(differences))


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
