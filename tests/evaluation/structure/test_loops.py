"""Planted loops are found with onset and period, also against brute force; entropy by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.structure.loops import SHORTEST, Loop, entropies, look, loops

NOISE = np.random.default_rng(0).integers(32, 127, 3000, np.uint8).tobytes()


@pytest.mark.parametrize("period", [1, 2, 7, 15, 16, 17, 53, 400])
def test_a_planted_loop_is_found_with_its_onset_and_its_period(period: int) -> None:
    unit = bytes(range(128, 128 + period)) if period < 100 else NOISE[-period:]
    times = max(4, SHORTEST // period + 1)
    text = NOISE[:1000] + unit * times + NOISE[1000:2000]
    assert loops(text) == [Loop(1000, 1000 + period * times, period)]


def test_a_round_that_repeats_itself_in_part_is_one_loop() -> None:
    unit = b"that they were all the same thing the same thing the same thing, which was "
    text = NOISE[:500] + unit * 5
    found = loops(text)
    assert [(loop.period, loop.end) for loop in found] == [(len(unit), len(text))]
    assert found[0].start == 500


@given(st.lists(st.tuples(st.text("ab", min_size=1, max_size=6), st.integers(1, 120)), max_size=4))
def test_what_is_found_is_a_loop_and_its_ends_are_where_it_breaks(
    parts: list[tuple[str, int]],
) -> None:
    text = "".join(unit * times for unit, times in parts).encode()
    free = 0
    for loop in loops(text):
        assert free <= loop.start
        assert loop.end - loop.start >= max(3 * loop.period, SHORTEST)
        body = text[loop.start : loop.end]
        assert body[: -loop.period] == body[loop.period :]
        if loop.end < len(text):
            assert text[loop.end] != text[loop.end - loop.period]
        free = loop.end


def test_text_without_repetition_has_no_loop() -> None:
    assert loops(NOISE) == loops(b"") == loops(b"short") == loops(b"x" * (SHORTEST - 1)) == []
    assert loops(NOISE[:500] * 2) == []  # twice is no loop


def test_a_sample_that_never_leaves_its_loop_is_told_apart() -> None:
    found = look({"a": NOISE[:100] + b"is that they " * 20, "b": NOISE}, None)
    free, stuck, whole = found.checks
    assert (free.count, free.out_of) == (100 + 3000, 100 + 260 + 3000)
    assert (stuck.count, stuck.out_of) == (1, 2)
    assert [(each.file, each.offset, each.kind) for each in stuck.findings] == [
        ("a", 100, "loop of period 13, 260 bytes")
    ]
    assert whole.count == whole.out_of
    figures = {figure.name: figure.value for figure in found.figures}
    assert figures["period of loops, median"] == 13.0
    assert figures["onset of loops that never end, median"] == 100.0


def test_bytes_of_no_character_are_found() -> None:
    text = "ä".encode() + b"\xff" + "ö".encode() + b"a\xc3b" + b"\xff" * 500
    whole = look({"a": text}, None).checks[2]
    assert (whole.count, whole.out_of) == (len(text) - 502, len(text))
    assert [each.offset for each in whole.findings][:3] == [2, 6, 8]
    assert len(whole.findings) == 100


def test_entropy_is_shannons() -> None:
    values = {figure.name: figure.value for figure in entropies(b"aabb" * 2000)}
    assert values["entropy of a byte, bits"] == 1.0
    assert values["entropy of a byte behind two others, bits"] == pytest.approx(0.0, abs=1e-3)
    packed = values["xz, bits per byte"]
    assert packed is not None
    assert packed < 0.2
    uneven = entropies(b"aaab")[0].value
    assert uneven == pytest.approx(0.25 * 2 + 0.75 * math.log2(4 / 3))
    assert [figure.value for figure in entropies(b"")] == [None, None, None]
