"""Texts that share lanes are scored as each would be alone, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.engine import texts as module
from pipeline.engine.texts import pack, score_texts
from tests.engine.small import VOCAB, engine


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 16)


def written() -> list[np.ndarray]:
    """Texts of 0 to 150 tokens, a long one among short ones."""
    random = np.random.default_rng(5)
    lengths = [3, 0, 150, 1, 2, 17, 16, 33, 5, 5, 40, 9]
    return [random.integers(0, len(VOCAB), length).astype(np.uint8) for length in lengths]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_text_is_scored_as_if_it_were_alone(cell: Any, precision: Any) -> None:
    made, _ = engine(cell, precision=precision)
    texts = written()
    for width in (1, 2, 3, 5, 64):
        found = dict(score_texts(made, texts, width))
        assert sorted(found) == list(range(len(texts)))
        for index, text in enumerate(texts):
            alone = np.zeros(0)
            if len(text) > 1:
                alone = made.lanes(1).score_each(text[:, None])[:, 0]
            assert found[index].tobytes() == alone.tobytes(), (width, index)


def test_no_text_at_all_is_scored_as_nothing() -> None:
    made, _ = engine()
    assert list(score_texts(made, [])) == []
    assert [index for index, _ in score_texts(made, [np.zeros(1, np.uint8)])] == [0]


def test_lanes_are_filled_evenly_and_the_longest_stands_in_front() -> None:
    steps = [5, 0, 9, 1, 4, 4, 3]
    packed = pack(steps, 3)
    totals = [sum(steps[index] for index in lane) for lane in packed]
    assert totals == sorted(totals, reverse=True)
    assert max(totals) - min(totals) <= 1
    assert sorted(index for lane in packed for index in lane) == [0, 2, 3, 4, 5, 6]


def test_there_are_no_more_lanes_than_texts() -> None:
    assert pack([7, 2], 64) == [[0], [1]]
    assert pack([], 64) == []
