from __future__ import annotations

import numpy as np
import pytest

from pipeline.explaining import effects
from pipeline.explaining.activations import read_text
from pipeline.explaining.labels.by_kind import labels_of
from pipeline.explaining.shifts import ShiftTests, p_values, shift_tests
from tests.explaining import planted


def standardized(values: np.ndarray) -> np.ndarray:
    return effects.standardized(values.astype(np.float64)).astype(np.float32)


DRAWS = np.random.default_rng(2)
SERIES = standardized(DRAWS.normal(size=(3, 60)).cumsum(axis=1))
LABELS = standardized(DRAWS.normal(size=(2, 60)))


def test_all_shifts_at_once_are_a_loop_over_shifts() -> None:
    found = np.array(
        [
            [[np.dot(np.roll(values, -shift), label) for shift in range(60)] for label in LABELS]
            for values in SERIES
        ]
    )
    found /= np.sqrt((found**2).mean(axis=2, keepdims=True))
    tests = shift_tests(SERIES, LABELS)
    np.testing.assert_allclose(tests.observed, found[:, :, 0], atol=1e-4)
    np.testing.assert_allclose(tests.maxima, np.abs(found).max(axis=0), atol=1e-4)


def test_a_p_value_counts_shifts_with_a_larger_maximum() -> None:
    maxima = np.array([[3.0, 1, 5, 2, 4], [1.5, 1, 1, 2, 1]], np.float32)
    tests = ShiftTests(np.array([[-3.0, 1.5]], np.float32), maxima)
    # The second label is tested against itself alone, but never before the first is found.
    np.testing.assert_allclose(p_values(tests), [[3 / 5, 3 / 5]])
    tests = ShiftTests(np.array([[6.0, 1.5]], np.float32), np.vstack([[6, 1, 5, 2, 4], maxima[1]]))
    np.testing.assert_allclose(p_values(tests), [[1 / 5, 2 / 5]])


def test_a_guard_leaves_out_both_sides() -> None:
    maxima = np.array([[3.0, 4, 1, 1, 5]], np.float32)
    tests = ShiftTests(np.array([[3.0]], np.float32), maxima)
    assert p_values(tests)[0, 0] == pytest.approx(3 / 5)
    assert p_values(tests, guard=1)[0, 0] == pytest.approx(1 / 3)


def test_nothing_is_found_of_what_never_changes() -> None:
    tests = shift_tests(np.zeros((1, 60), np.float32), LABELS)
    assert (tests.observed == 0).all()
    assert (p_values(tests) == 1).all()


def test_labels_shifted_at_random_have_a_finding_5_times_in_100() -> None:
    """The planted network tracks quotes, and chance must hide it once labels are shifted."""
    text = planted.text(1500)
    seen = read_text(planted.artifact(planted.planted()), text)
    units = np.concatenate([signal[:, 0].T for signal in seen.signals.values()])
    ranked = np.stack([effects.ranks_of_bytes(values) for values in units])
    labels = [label for label in labels_of(text, "prose", "byte") if np.ptp(label.values)]
    targets = standardized(np.stack([effects.target(label) for label in labels]))
    series = standardized(ranked)
    assert p_values(shift_tests(series, targets)).min() <= 0.05  # as it is, there is something
    shifts = np.random.default_rng(11).integers(0, len(text), 200)
    findings = 0
    for shift in shifts.tolist():
        p = p_values(shift_tests(series, np.roll(targets, shift, axis=1)))
        findings += int((p <= 0.05).any())
    assert findings <= 17
