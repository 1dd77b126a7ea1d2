"""From streams to figures: means, intervals, paired differences, a curve along the text."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.evaluation.compare import bits_per_byte_outside, compare, curve, differences
from pipeline.evaluation.intervals import Blocks
from pipeline.evaluation.result import Stream

LN2 = math.log(2)


def test_figures_are_means_over_bytes_and_over_symbols() -> None:
    blocks = Blocks.of(20, 10)
    nats = [np.array([4.0, 8.0]) * LN2, np.array([10.0, 12.0]) * LN2]
    symbols = [np.array([2, 1]), np.array([10, 10])]
    found = compare(nats, symbols, blocks)
    assert [figure.bits for figure in found.per_byte] == pytest.approx([0.6, 1.1])
    assert [figure.bits for figure in found.per_symbol] == pytest.approx([4.0, 1.1])
    assert [figure.bits for figure in found.differences] == pytest.approx([0.0, 0.5])
    # Two blocks say nothing of how blocks vary.
    assert {figure.interval for figure in found.per_byte + found.differences} == {None}


def test_differences_are_paired_by_block() -> None:
    """Two models that differ by a constant differ surely, however much the text varies."""
    blocks = Blocks.of(50_000)
    hard = np.random.default_rng(1).uniform(500, 4000, 50) * LN2
    even = np.full(50, 1000)
    found = compare([hard, hard + 100 * LN2], [even, even], blocks)
    own = found.per_byte[0].interval
    gap = found.differences[1].interval
    assert own is not None
    assert gap is not None
    assert own.high - own.low > 0.3
    assert (gap.low, gap.high) == pytest.approx((0.1, 0.1))
    assert own.low < found.per_byte[0].bits < own.high


def test_intervals_by_symbol_are_those_of_symbols() -> None:
    blocks = Blocks.of(20_000)
    nats = np.random.default_rng(1).uniform(500, 900, 20)
    halves = np.full(20, 500)
    found = compare([nats], [halves], blocks)
    by_byte = found.per_byte[0].interval
    by_symbol = found.per_symbol[0].interval
    assert by_byte is not None
    assert by_symbol is not None
    assert by_symbol.low == pytest.approx(2 * by_byte.low)
    assert by_symbol.high == pytest.approx(2 * by_byte.high)


def test_differences_are_named_and_the_first_is_left_out() -> None:
    blocks = Blocks.of(20, 10)
    one = np.array([1.0, 1.0])
    found = compare([one, 2 * one, 3 * one], [one, one, one], blocks)
    named = differences(["a", "b", "c"], found)
    assert [(each.model, each.other) for each in named] == [("a", "b"), ("a", "c")]
    assert named[1].to_json()["bits_per_byte"] == pytest.approx(4 / 20 / LN2)


def test_a_curve_is_bits_per_byte_along_the_text() -> None:
    starts = np.arange(0, 250_000, 2)  # symbols of two bytes
    nats = np.where(starts < 125_000, 1.0, 3.0) * LN2
    found = curve(Stream(nats, starts), 250_000)
    assert len(found) == 100
    assert found[:50] == pytest.approx([0.5] * 50)
    assert found[50:] == pytest.approx([1.5] * 50)
    assert curve(Stream(np.array([LN2]), np.array([0])), 4) == (0.25,)


def test_a_score_without_some_ranges_is_that_of_the_rest() -> None:
    stream = Stream(np.array([1.0, 2.0, 4.0, 8.0]) * LN2, np.array([0, 1, 4, 5]))
    assert bits_per_byte_outside(stream, 6, []) == pytest.approx(15 / 6)
    assert bits_per_byte_outside(stream, 6, [(1, 4)]) == pytest.approx(13 / 3)
    # Ranges may overlap: a byte is left out once.
    assert bits_per_byte_outside(stream, 6, [(0, 4), (1, 5)]) == pytest.approx(8.0)
    assert bits_per_byte_outside(stream, 6, [(0, 6)]) is None
