"""A corpus's lengths: the middle of them, and how far others are."""

from __future__ import annotations

import pytest

from pipeline.evaluation.structure.lengths import Lengths


def test_the_middle_holds_nine_tenths() -> None:
    lengths = Lengths.of(list(range(100, -1, -1)))
    assert lengths.middle == (5, 95)
    assert [lengths.holds(each) for each in (4, 5, 95, 96)] == [False, True, True, False]
    assert lengths.notes() == ("90% of the corpus's lengths are from 5 to 95 words.",)


def test_the_distance_is_that_of_kolmogorov_and_smirnov() -> None:
    ours = [1, 2, 2, 3, 9, 12]
    others = [2, 2, 7, 8]
    distance = Lengths.of(ours).distance(others)
    assert distance == pytest.approx(1 / 3)  # at 8: 4 of 6 and 4 of 4
    assert Lengths.of(ours).distance(ours) == 0.0
    assert Lengths.of([1, 2]).distance([5, 6]) == 1.0


def test_without_lengths_there_is_no_distance() -> None:
    nothing = Lengths.of([])
    assert (nothing.middle, nothing.distance([1]), Lengths.of([1]).distance([])) == (
        (0, 0),
        None,
        None,
    )
    assert nothing.notes() == ("The corpus has none of what is measured here.",)
