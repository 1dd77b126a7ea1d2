"""Prediction intervals: Student's t against tables, and how often healthy runs raise an alarm."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.reproducing.bands import FALSE_ALARMS, SUITE_GATES, prediction_interval, t_quantile


@pytest.mark.parametrize(
    ("share", "freedom", "quantile"),
    # Tables of Student's t.
    [(0.975, 5, 2.570582), (0.995, 5, 4.032143), (0.975, 1, 12.706205), (0.95, 30, 1.697261)],
)
def test_quantiles_are_those_of_tables(share: float, freedom: int, quantile: float) -> None:
    assert t_quantile(share, freedom) == pytest.approx(quantile, rel=1e-5)


def test_an_interval_stands_around_the_mean_and_grows_with_the_spread() -> None:
    low, high = prediction_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], alarm=0.05)
    # 3.5 +- 2.5706 * 1.8708 * sqrt(7 / 6)
    assert (low, high) == pytest.approx((-1.69446, 8.69446), abs=1e-4)


def test_one_more_healthy_run_is_outside_as_rarely_as_was_promised() -> None:
    random = np.random.default_rng(1)
    alarm = 0.05
    outside = 0
    for _ in range(200):
        *seeds, new = random.normal(1.6, 0.01, 7).tolist()
        low, high = prediction_interval(seeds, alarm)
        outside += not low <= new <= high
    assert 2 <= outside <= 20  # 10 are expected


def test_a_suite_as_a_whole_keeps_its_promise() -> None:
    low, high = prediction_interval([1.0, 1.1, 1.2, 1.0, 1.1, 1.2])
    each = prediction_interval([1.0, 1.1, 1.2, 1.0, 1.1, 1.2], FALSE_ALARMS / SUITE_GATES)
    assert (low, high) == each
    assert SUITE_GATES * (FALSE_ALARMS / SUITE_GATES) <= 0.01
