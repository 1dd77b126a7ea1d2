from __future__ import annotations

import numpy as np
import pytest

from pipeline.explaining import baselines
from pipeline.explaining.labels.label import Label

DRAWS = np.random.default_rng(4)
TOKENS = DRAWS.integers(0, 3, 4000)


def label(values: np.ndarray, kind: str = "binary") -> Label:
    return Label("it", kind, values.astype(np.float32))  # type: ignore[arg-type]


def ngram(tokens: np.ndarray, it: Label) -> float:
    first = Label("it", it.kind, it.values[:2000])
    second = Label("it", it.kind, it.values[2000:])
    (effect,) = baselines.ngram_effects(tokens[:2000], [first], tokens[2000:], [second], 3)
    return effect


@pytest.mark.parametrize("back", [0, 1, 3])
def test_what_a_few_tokens_tell_is_told(back: int) -> None:
    assert ngram(TOKENS, label(np.roll(TOKENS, back) == 1)) == pytest.approx(1, abs=3e-3)
    assert ngram(TOKENS, label(np.roll(TOKENS, back), "real")) == pytest.approx(1, abs=3e-3)


def test_what_lies_farther_back_is_not() -> None:
    assert ngram(TOKENS, label(np.roll(TOKENS, 4) == 1)) < 0.55


def test_a_context_that_was_not_seen_gives_way_to_a_shorter_one() -> None:
    tokens = TOKENS.copy()
    tokens[2000:] = np.where(np.arange(2000) % 5 == 0, 2, tokens[2000:])
    tokens[:2000][tokens[:2000] == 2] = 0
    assert ngram(tokens, label(tokens == 1)) == pytest.approx(1)


def test_contexts_end_where_64_bits_do() -> None:
    tokens = TOKENS + 100_000
    first = label((tokens == 100_001)[:2000])
    second = label((tokens == 100_001)[2000:])
    (effect,) = baselines.ngram_effects(tokens[:2000], [first], tokens[2000:], [second], 200_000)
    assert effect == pytest.approx(1)


def test_the_best_series_is_the_best_in_either_direction() -> None:
    on = TOKENS == 1
    series = np.stack([np.zeros(4000), DRAWS.normal(0, 9, 4000), np.where(on, -9, 5)])
    best = baselines.best_effects(series.astype(np.int8), [label(on), label(-1.0 * on, "real")])
    assert best == pytest.approx([1, 1])
