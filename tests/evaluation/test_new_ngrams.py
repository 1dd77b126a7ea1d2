"""n-grams of samples that a corpus has, against Python's own search."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import new_ngrams
from pipeline.evaluation.new_ngrams import NgramSet, packed, unpacked

from .test_substrings import SEPARATOR, case


@pytest.mark.parametrize("n", [1, 3, 9, 31])
@pytest.mark.parametrize("block", [1 << 20, 50])
def test_new_ngrams_are_those_that_looking_does_not_find(
    monkeypatch: pytest.MonkeyPatch, n: int, block: int
) -> None:
    monkeypatch.setattr(new_ngrams, "_BLOCK", block)
    for seed in range(4):
        text, corpus = case(seed, 2 + seed)
        made = NgramSet(text, n, SEPARATOR)
        for start in range(0, 800, 300):  # in stretches, each read on beyond its end
            made.look_through(corpus[start : start + 300 + n], 300)
        raw = text.astype(np.uint8).tobytes()
        inside = [
            start
            for start in range(len(raw) - n + 1)
            if bytes([SEPARATOR]) not in raw[start : start + n]
        ]
        assert made.starts.tolist() == inside
        new = [raw[start : start + n] not in corpus.tobytes() for start in inside]
        assert made.new().tolist() == new
        assert n < 9 or (any(new) and not all(new))


def test_a_start_at_the_limit_belongs_to_the_next_stretch() -> None:
    made = NgramSet(np.array([1, 2, SEPARATOR], np.uint32), 2, SEPARATOR)
    corpus = np.array([0, 1, 2], np.uint8)
    made.look_through(corpus, 1)
    assert made.new().tolist() == [True]
    made.look_through(corpus, 2)
    assert made.new().tolist() == [False]


def test_samples_shorter_than_n_have_none() -> None:
    made = NgramSet(np.array([1, SEPARATOR], np.uint32), 8, SEPARATOR)
    made.look_through(np.ones(20, np.uint8), 20)
    assert len(made.new()) == 0


def test_flags_travel_as_bits() -> None:
    flags = np.array([True, False, True] * 7)
    assert len(packed(flags)) == 3
    assert unpacked(packed(flags), 21).tolist() == flags.tolist()
