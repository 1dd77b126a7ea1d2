"""Where the figure of one more healthy run lies, from the figures of runs with other seeds.

A prediction interval of Student's t: mean +- t * s * sqrt(1 + 1/n). The gates of a whole suite may
raise a false alarm in one of a hundred healthy suites together, so each gets its share of that
(Bonferroni: figures of one run depend on each other, and the bound holds all the same).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

FEWEST_SEEDS = 6
FALSE_ALARMS = 0.01  # of a whole suite of healthy runs
# Gates of all shipped recipes together that are held against seeds, with room for more.
SUITE_GATES = 50
_STEPS = 2_000  # of Simpson's rule: t's quantile to six digits


def prediction_interval(
    figures: Sequence[float], alarm: float = FALSE_ALARMS / SUITE_GATES
) -> tuple[float, float]:
    """The interval that holds the next figure but for a share `alarm` of times.

    figures: at least FEWEST_SEEDS, one a seed.
    """
    count = len(figures)
    assert count >= FEWEST_SEEDS
    middle = statistics.fmean(figures)
    reach = t_quantile(1 - alarm / 2, count - 1)
    half = reach * statistics.stdev(figures) * math.sqrt(1 + 1 / count)
    return middle - half, middle + half


def t_quantile(share: float, freedom: int) -> float:
    """The value below which Student's t lies with probability `share`, from 0.5 to below 1."""
    low = 0.0
    high = 1.0
    while _t_below(high, freedom) < share:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if _t_below(middle, freedom) < share:
            low = middle
        else:
            high = middle
    return high


def _t_below(value: float, freedom: int) -> float:
    """The probability that Student's t lies below a value of at least 0."""
    # With t = sqrt(freedom) * tan(angle) the density becomes a power of a cosine, on a finite
    # range: Simpson's rule needs no thought for long tails.
    end = math.atan(value / math.sqrt(freedom))
    width = end / _STEPS
    power = freedom - 1
    total = 1.0 + math.cos(end) ** power
    for step in range(1, _STEPS):
        total += (4 if step % 2 else 2) * math.cos(step * width) ** power
    area = total * width / 3
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    return 0.5 + math.exp(scale) / math.sqrt(math.pi) * area
