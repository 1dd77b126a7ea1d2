"""Windows that nearly stand in another text, against sets of their shingles."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import minhash
from pipeline.evaluation.minhash import REACH, SHINGLE, STRIDE, WINDOW, WindowIndex, containment_of


def shingles(text: np.ndarray) -> set[bytes]:
    raw = text.astype(np.uint32)
    return {raw[i : i + SHINGLE].tobytes() for i in range(len(raw) - SHINGLE + 1)}


def by_sets(window: np.ndarray, region: np.ndarray) -> float:
    return len(shingles(window) & shingles(region)) / len(shingles(window))


@pytest.mark.parametrize("symbols", [3, 200, 70_000])
def test_containment_is_that_of_the_sets(symbols: int) -> None:
    generator = np.random.default_rng(symbols)
    region = generator.integers(0, symbols, 500).astype(np.uint32)
    window = region[100 : 100 + REACH].copy()
    window[[20, 25, 200]] += 1
    assert containment_of(window, region) == pytest.approx(by_sets(window, region))
    assert 0.8 < containment_of(window, region) < 1
    assert containment_of(region[:REACH], region) == 1


def test_a_row_of_dashes_is_no_duplicate() -> None:
    dashes = np.full(600, 45, np.uint8)
    assert containment_of(dashes[:REACH], dashes) == 0
    index = WindowIndex(dashes[:REACH], np.array([0]))
    assert index.match(dashes, 600, 0.8).containment.tolist() == [0.0]


@pytest.mark.parametrize("kind", [np.uint8, np.uint32])
def test_copies_at_any_place_are_found_and_nothing_else(kind: type) -> None:
    generator = np.random.default_rng(5)
    corpus = generator.integers(0, 60, 20_000).astype(kind)
    copied = [1 + 487 * n for n in range(38)]  # all remainders of the stride
    other = generator.integers(0, 60, REACH).astype(kind)
    text = np.concatenate([*(corpus[place : place + REACH] for place in copied), other])
    index = WindowIndex(text, REACH * np.arange(39))
    found = index.match(corpus, len(corpus), 0.8, base=1000)
    assert found.containment[:38].min() >= 0.8
    assert (found.containment[38], found.places[38]) == (0.0, -1)
    assert np.abs(found.places[:38] - 1000 - copied).max() <= 2 * STRIDE
    again = index.match(corpus, len(corpus), 0.8)  # a search leaves the index as it was
    assert again.containment.tolist() == found.containment.tolist()


def test_what_is_found_is_what_comparing_all_with_all_finds() -> None:
    """Windows with more and more edits; none is found that is not, and hardly any is missed."""
    generator = np.random.default_rng(9)
    corpus = generator.integers(0, 60, 8192).astype(np.uint8)
    regions = [
        shingles(corpus[max(0, start - STRIDE) : start + REACH + STRIDE])
        for start in range(0, len(corpus) - WINDOW, STRIDE)
    ]
    windows = []
    for number in range(90):
        place = int(generator.integers(0, len(corpus) - REACH))
        window = corpus[place : place + REACH].copy()
        window[generator.integers(0, REACH, number % 15)] = 60
        windows.append(window)
    true = []
    for window in windows:
        own = shingles(window)
        true.append(max(len(own & region) for region in regions) / len(own) >= 0.8)
    index = WindowIndex(np.concatenate(windows), REACH * np.arange(90))
    found = index.match(corpus, len(corpus), 0.8).containment >= 0.8
    assert not found[~np.array(true)].any()
    assert 30 < sum(true) < 70
    assert found.sum() >= sum(true) - 1


def test_windows_beyond_the_limit_are_left_to_the_next_stretch() -> None:
    corpus = np.random.default_rng(6).integers(0, 60, 4096).astype(np.uint8)
    index = WindowIndex(corpus[2048 : 2048 + REACH], np.array([0]))
    assert index.match(corpus, 2048 - STRIDE, 0.8).containment[0] < 0.8
    assert index.match(corpus, 2048 + 1, 0.8).containment[0] == 1


def test_a_window_that_shares_too_little_is_none() -> None:
    generator = np.random.default_rng(7)
    corpus = generator.integers(0, 60, 4096).astype(np.uint8)
    half = corpus[1024 : 1024 + REACH].copy()
    half[WINDOW // 2 :] = generator.integers(60, 90, len(half) - WINDOW // 2)
    found = WindowIndex(half, np.array([0])).match(corpus, 4096, 0.8)
    assert 0.4 < found.containment[0] < 0.6


def test_boilerplate_is_compared_so_often_and_no_more() -> None:
    """A window that many places share half of is given up; its own copy behind them is missed."""
    generator = np.random.default_rng(8)
    licence = generator.integers(0, 60, 140).astype(np.uint8)
    files = [
        np.concatenate([licence, generator.integers(0, 60, 180).astype(np.uint8)])
        for _ in range(minhash._MOST_TRIES + 10)
    ]
    corpus = np.concatenate(files)
    index = WindowIndex(files[-1][:REACH], np.array([0]))
    assert index.match(corpus, len(corpus), 0.9).containment[0] < 0.9
    assert index.match(corpus[-40 * 320 :], 40 * 320, 0.9).containment[0] == 1
