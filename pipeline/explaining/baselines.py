"""What a label is worth beating by: what the last few characters tell, and an untrained network.

The n-gram baseline is a table of label means by the current token and up to LONGEST - 1 before it,
learnt on one half of the text and read on the other; a context seen fewer than SEEN times gives way
to the shorter one. Shapes: T tokens, K labels, S series.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.explaining import effects
from pipeline.explaining.labels.label import Label

LONGEST = 4
SEEN = 5


def ngram_effects(
    first_tokens: np.ndarray,
    first: list[Label],
    second_tokens: np.ndarray,
    second: list[Label],
    vocab_size: int,
) -> list[float]:
    """The best n-gram table's effect on the second half, by label: learnt on the first."""
    best = [-1.0] * len(first)
    targets = np.stack([effects.target(label) for label in first])
    wanted = [effects.target(label) for label in second]
    predictions = np.repeat(targets.mean(axis=1)[:, None], len(second_tokens), axis=1)
    for known, asked in _contexts(first_tokens, second_tokens, vocab_size):
        numbers, index, counts = np.unique(known, return_inverse=True, return_counts=True)
        at = np.minimum(np.searchsorted(numbers, asked), len(numbers) - 1)
        is_known = (numbers[at] == asked) & (counts[at] >= SEEN)
        for row, target in enumerate(targets):
            means = np.bincount(index, target) / counts
            predictions[row] = np.where(is_known, means[at], predictions[row])
            ranked = effects.ranks(predictions[row])
            best[row] = max(best[row], effects.effect(first[row].kind, ranked, wanted[row]))
    return best


def best_effects(series: np.ndarray, labels: list[Label]) -> list[float]:
    """The effect of the best of all series (S, T), int8, by label, in whichever direction."""
    figures = effects.all_figures(series, labels)
    return [
        max(
            effects.scaled(label.kind, float(column.max()), 1),
            effects.scaled(label.kind, float(column.min()), -1),
        )
        for label, column in zip(labels, figures.T, strict=True)
    ]


def _contexts(
    first: np.ndarray, second: np.ndarray, vocab_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of the contexts of 1 to LONGEST tokens that end at each place of both halves."""
    numbers = [np.zeros(len(tokens), np.int64) for tokens in (first, second)]
    scale = 1
    for back in range(LONGEST):
        for number, tokens in zip(numbers, (first, second), strict=True):
            # Before a half's start stands a token that there is not.
            shifted = np.full(len(tokens), vocab_size, np.int64)
            shifted[back:] = tokens[: len(tokens) - back]
            np.add(number, shifted * scale, out=number)
        yield numbers[0], numbers[1]
        scale *= vocab_size + 1
        if scale > (1 << 62) // (vocab_size + 1):
            return  # the next number would not fit 64 bits
