"""Block-bootstrap intervals: the same every time, paired, and of the right width."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.intervals import MAX_BLOCKS, RESAMPLES, Blocks, interval, resampled


def test_blocks_hold_every_byte_once() -> None:
    blocks = Blocks.of(10_999)
    assert (blocks.count, blocks.block_bytes) == (10, 1000)
    assert blocks.sizes.tolist() == [1000] * 9 + [1999]
    assert blocks.sums(np.ones(10_999), np.arange(10_999)).tolist() == blocks.sizes.tolist()
    assert Blocks.of(11_000).sizes.tolist() == [1000] * 11
    assert Blocks.of(5).sizes.tolist() == [5]


def test_a_symbol_belongs_to_the_block_in_which_it_begins() -> None:
    blocks = Blocks.of(20, 10)
    starts = np.array([0, 9, 10, 13, 19])
    assert blocks.sums(np.array([1.0, 2, 4, 8, 16]), starts).tolist() == [3, 28]


def test_longer_texts_have_longer_blocks() -> None:
    blocks = Blocks.of(50_000_001)
    assert blocks.count <= MAX_BLOCKS
    assert blocks.block_bytes == 5001
    assert blocks.sizes.sum() == 50_000_001


def test_the_same_resamples_every_time_and_each_another() -> None:
    series = np.random.default_rng(1).random((40, 2))
    first = resampled(series, 50)
    assert first.tolist() == resampled(series, 50).tolist()
    # The n-th resample does not depend on how many there are.
    assert first[:20].tolist() == resampled(series, 20).tolist()
    assert len(np.unique(first[:, 0])) == 50


def test_series_are_summed_over_the_same_draws() -> None:
    ones = np.random.default_rng(1).random(40)
    sums = resampled(np.column_stack([ones, ones + 3]), 100)
    assert sums[:, 1] - sums[:, 0] == pytest.approx(np.full(100, 120.0))


def test_an_interval_has_the_width_that_theory_gives() -> None:
    """Of a mean of K independent blocks: 1.96 standard errors to either side."""
    values = np.random.default_rng(1).normal(5, 2, 400)
    found = interval(resampled(values[:, None])[:, 0] / 400)
    error = values.std() / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    assert found.to_json() == {"low": found.low, "high": found.high}


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(0, 1, 60)
        found = interval(resampled(values[:, None], 300)[:, 0] / 60)
        held += found.low <= 0 <= found.high
    assert 0.88 < held / 200 < 0.99


def test_they_say_how_they_were_made() -> None:
    said = Blocks.of(9_999).bootstrap
    assert (said.blocks, said.block_bytes, said.resamples) == (9, 1000, RESAMPLES)
    assert not said.has_intervals
    assert Blocks.of(10_000).bootstrap.has_intervals
    assert said.to_json()["over_seeds"] is False
