"""Numbers of any frequencies come back from their bytes, which are as few as can be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine import range_coder
from pipeline.engine.range_coder import Reading

Number = tuple[int, int, int]  # below, frequency, total


def written(numbers: list[list[Number]]) -> list[bytes]:
    """The bytes of some lanes' numbers."""
    lanes = len(numbers)
    coder = range_coder.writing(lanes)
    out = np.zeros((lanes, 7 * max(map(len, numbers)) + 1), np.uint8)
    for lane, row in enumerate(numbers):
        for number in row:
            range_coder.encode(lane, *map(np.uint64, number), coder, out)
    range_coder.finish(lanes, coder, out)
    return [out[lane, : coder.at[lane]].tobytes() for lane in range(lanes)]


def read_back(streams: list[bytes], numbers: list[list[Number]]) -> Reading:
    """Read numbers of known frequencies, each found at its place."""
    coder, data = range_coder.reading(streams)
    for lane, row in enumerate(numbers):
        for below, frequency, total in row:
            place = int(range_coder.place_in(lane, np.uint64(total), coder))
            assert below <= place < below + frequency
            range_coder.take(lane, *map(np.uint64, (below, frequency, total)), coder, data)
    return coder


@st.composite
def number(draw: st.DrawFn) -> Number:
    total = draw(st.integers(1, 1 << draw(st.integers(1, 54))))
    below = draw(st.integers(0, total - 1) | st.just(total - 1))
    return below, draw(st.integers(1, total - below)), total


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(number(), max_size=40), min_size=1, max_size=3))
def test_numbers_come_back(numbers: list[list[Number]]) -> None:
    streams = written(numbers)
    coder = read_back(streams, numbers)
    assert range_coder.has_ended(coder)
    assert not range_coder.is_beyond(coder)


@pytest.mark.parametrize("total_bits", [8, 32, 40])
def test_the_bytes_are_those_that_the_frequencies_give(total_bits: int) -> None:
    generator = np.random.default_rng(1)
    total = 1 << total_bits
    frequencies = generator.integers(1, total >> 2, 5000)
    belows = generator.integers(0, total - frequencies)
    row = [(int(b), int(f), total) for b, f in zip(belows, frequencies, strict=True)]
    (stream,) = written([row])
    bits = sum(total_bits - math.log2(frequency) for frequency in frequencies)
    assert bits <= 8 * len(stream) <= bits + 16
    read_back([stream], [row])


def test_a_carry_runs_through_all_bytes_written() -> None:
    """A third of a range is not a whole number of it, so it can begin just below a boundary."""
    # The upper half again and again makes bytes of 255; the last number takes the range beyond.
    row = [(0, 1, 3), *[(1, 1, 2)] * 200, (255, 1, 256), (1, 1, 2)]
    for first in range(3):
        numbers = [[(first, 1, 3), *row[1:]]]
        assert range_coder.has_ended(read_back(written(numbers), numbers))
    coder = range_coder.writing(1)
    coder.low[0] = 2**64 - 1
    coder.at[0] = 3
    out = np.array([[7, 255, 255, 0, 0, 0]], np.uint8)
    range_coder.encode(0, np.uint64(1), np.uint64(1), np.uint64(2), coder, out)
    assert out[0, :3].tolist() == [8, 0, 0]


def test_what_is_written_last_may_carry() -> None:
    coder = range_coder.writing(1)
    coder.low[0] = 2**64 - 1
    coder.at[0] = 2
    out = np.array([[7, 255, 9]], np.uint8)
    range_coder.finish(1, coder, out)
    assert out[0].tolist() == [8, 0, 0]


def test_a_stream_that_is_too_long_or_too_short_is_noticed() -> None:
    numbers = [[(1, 1, 256)] * 20]
    (stream,) = written(numbers)
    for other in (stream + b"\0", stream[:-1], b""):
        coder, data = range_coder.reading([other])
        for below, frequency, total in numbers[0]:
            range_coder.take(0, *map(np.uint64, (below, frequency, total)), coder, data)
        assert not range_coder.has_ended(coder)
        assert range_coder.is_beyond(coder) == (len(other) < len(stream))


def test_bytes_that_no_encoder_writes_lie_behind_the_total() -> None:
    coder, _ = range_coder.reading([b"\xff" * 9])
    total = 1 << 40
    assert range_coder.place_in(0, np.uint64(total + 1), coder) >= total + 1
