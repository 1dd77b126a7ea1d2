"""Spans of samples in a corpus, against looking at every place."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation import substrings
from pipeline.evaluation.substrings import SHORTEST, SampleIndex, merged

SEPARATOR = 9


def by_looking(text: np.ndarray, corpus: np.ndarray) -> list[tuple[int, int]]:
    """Start and length of the maximal spans, by Python's own search."""
    raw = text.astype(np.uint8).tobytes()
    longest = []
    for start in range(len(raw)):
        length = 0
        while start + length < len(raw) and raw[start : start + length + 1] in corpus.tobytes():
            length += 1
        longest.append(length)
    return [
        (start, length)
        for start, length in enumerate(longest)
        if length >= SHORTEST and (start == 0 or longest[start - 1] != length + 1)
    ]


def case(seed: int, symbols: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples with pieces of a corpus in them, some shorter than a window, and the corpus."""
    generator = np.random.default_rng(seed)
    corpus = generator.integers(0, symbols, 800).astype(np.uint8)
    text = generator.integers(0, symbols, 500).astype(np.uint32)
    for _ in range(4):
        start, place = generator.integers(0, 400, 2)
        piece = corpus[place : place + generator.integers(20, 100)]
        text[start : start + len(piece)] = piece
    text[generator.integers(0, 500, 2)] = SEPARATOR
    text[-1] = SEPARATOR
    return text, corpus


@pytest.mark.parametrize("symbols", [1, 2, 3, 8])
@pytest.mark.parametrize("stretch", [800, 130, 7])
def test_spans_are_those_that_looking_finds(symbols: int, stretch: int) -> None:
    """Of texts that repeat themselves without end, too, and wherever the corpus is divided."""
    for seed in range(5):
        text, corpus = case(seed, symbols)
        index = SampleIndex(text, SEPARATOR)
        found = merged(
            [
                index.spans(corpus[start : start + stretch + 532], stretch, start)
                for start in range(0, len(corpus), stretch)
            ]
        )
        assert [(start, length) for start, length, _ in found.tolist()] == by_looking(text, corpus)
        for start, length, place in found.tolist():
            piece = corpus[place : place + length]
            assert text[start : start + length].tolist() == piece.tolist()


def test_a_span_of_31_is_too_short_and_one_of_32_is_found() -> None:
    corpus = np.arange(200, dtype=np.uint16) + 10
    text = np.concatenate([corpus[:31], [SEPARATOR], corpus[50:82], [SEPARATOR]]).astype(np.uint32)
    assert SampleIndex(text, SEPARATOR).spans(corpus, 200).tolist() == [[32, 32, 50]]


def test_windows_of_equal_hashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as found was compared symbol by symbol: here with a hash that is always equal."""
    text, corpus = case(1, 8)
    wanted = SampleIndex(text, SEPARATOR)
    slot = substrings._slot.py_func
    table = substrings.Windows(
        np.full(64, 7, np.uint64), np.array([0, *[-1] * 63], np.int32), *wanted._windows[2:]
    )
    home = ((7 * 0x9E3779B97F4A7C15 % 2**64) >> 20) & 63
    table.starts[:] = -1
    table.starts[home] = 3  # the window at 3 of the samples has this hash too
    with np.errstate(over="ignore"):
        assert slot(np.uint64(7), text, 3, text, table) == home
        assert slot(np.uint64(7), corpus, 3, text, table) == (home + 1) & 63


def test_merging_drops_what_lies_within_another_and_keeps_the_first_place() -> None:
    first = np.array([[0, 40, 900], [50, 33, 7]])
    second = np.array([[0, 40, 100], [2, 35, 5], [30, 60, 3], [50, 33, 1]])
    assert merged([first, second]).tolist() == [[0, 40, 100], [30, 60, 3]]
    assert merged([]).tolist() == []


def test_a_text_without_symbols_and_a_corpus_shorter_than_a_window() -> None:
    index = SampleIndex(np.array([SEPARATOR], np.uint32), SEPARATOR)
    assert index.spans(np.zeros(10, np.uint8), 10).shape == (0, 3)


def test_too_many_samples_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(substrings, "MOST_SYMBOLS", 2)
    with pytest.raises(InputError, match="hold 3 symbols; their index takes 2 at most"):
        SampleIndex(np.zeros(3, np.uint32), SEPARATOR)
