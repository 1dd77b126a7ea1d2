from __future__ import annotations

import numpy as np

from pipeline.explaining.labels.label import binary, next_is, real, run_lengths, since

MARKS = np.array([False, True, False, False, True, True, False])


def test_since_counts_from_the_last_mark_and_from_one_before_the_text() -> None:
    assert since(MARKS).tolist() == [1, 0, 1, 2, 0, 0, 1]


def test_run_lengths_count_marked_symbols() -> None:
    assert run_lengths(MARKS).tolist() == [0, 1, 0, 0, 1, 2, 0]


def test_nothing_stands_behind_the_last_symbol() -> None:
    assert next_is(MARKS).tolist() == [True, False, False, True, True, False, False]


def test_labels_are_float32() -> None:
    on = binary("on", bytearray(b"\x00\x01"))
    assert (on.kind, on.values.tolist(), on.values.dtype) == ("binary", [0, 1], np.float32)
    assert real("number", [3, 4]).values.tolist() == [3, 4]
