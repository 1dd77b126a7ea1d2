"""Which units track something: every unit against every label of a text.

Found on the first half of a text, family-wise over all units and labels (shifts). On the second
half a pair's effect must then beat two others by a margin: an n-gram table, and the best unit of an
untrained network of the same shape. With 100,000 characters everything is significant;
the margins are what makes a finding worth anybody's time.

Shapes: T tokens, L layers, H hidden, S series (a signal of a unit), K labels.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.errors import InputError
from pipeline.explaining import baselines, effects, shifts
from pipeline.explaining.findings import Found, Pairs
from pipeline.explaining.labels.label import Label
from pipeline.progress import Progress
from pipeline.tasks import Runner, run_here

FEWEST = 50  # symbols of a half that have a label, and that have it not
SERIES_A_TASK = 64  # 1 s with 20 labels of 50,000 symbols
SHORTEST = 2 * FEWEST  # tokens of a half


@dataclass(frozen=True)
class FinderTask:
    """Some series (S, T) int8 against all labels' targets (K, T), standardised float32."""

    series: np.ndarray
    targets: np.ndarray

    def run(self) -> dict[str, str]:
        """The tests, as base64 of float32."""
        ranked = np.stack([effects.ranks_of_bytes(values) for values in self.series])
        tests = shifts.shift_tests(effects.standardized(ranked).astype(np.float32), self.targets)
        return {
            "observed": base64.b64encode(tests.observed.tobytes()).decode(),
            "maxima": base64.b64encode(tests.maxima.tobytes()).decode(),
        }


def find(
    tokens: np.ndarray,
    signals: Mapping[str, np.ndarray],
    labels: list[Label],
    untrained: Mapping[str, np.ndarray],
    vocab_size: int,
    run: Runner = run_here,
) -> Found:
    """Signals (T, L, H) int8 by name against labels (T,); `untrained` are signals of an untrained
    network on the second half alone.
    """
    half = first_half(len(tokens))
    usable, too_rare = _usable(labels, half)
    if not usable:
        return Found(
            first_half=half,
            second_half=len(tokens) - half,
            findings=(),
            labels=(),
            too_rare=too_rare,
        )
    first = [_part(label, slice(half)) for label in usable]
    second = [_part(label, slice(half, None)) for label in usable]
    series = _series(signals)
    tests = run_tests(series[:, :half], first, run)
    untrained_effects = baselines.best_effects(_series(untrained), second)
    ngrams = baselines.ngram_effects(tokens[:half], first, tokens[half:], second, vocab_size)
    pairs = Pairs(
        names=list(signals),
        shape=next(iter(signals.values())).shape[1:],
        series=series[:, half:],
        second=second,
        first_figures=effects.all_figures(series[:, :half], first),
        figures=effects.all_figures(series[:, half:], second),
        p=shifts.p_values(tests),
        ngrams=ngrams,
        untrained=untrained_effects,
    )
    return Found(
        first_half=half,
        second_half=len(tokens) - half,
        findings=pairs.findings(),
        labels=pairs.label_results(),
        too_rare=too_rare,
    )


def first_half(tokens: int) -> int:
    """Tokens of the first half of a text. InputError where it is too short."""
    half = fast_length(tokens // 2)
    if half < SHORTEST:
        raise InputError(
            f"the text has {tokens:,} tokens; the cell finder needs at least {3 * SHORTEST}, "
            "and 50,000 to find much. Give more text, or --finder_bytes 0 for a page without it."
        )
    return half


def run_tests(series: np.ndarray, labels: list[Label], run: Runner = run_here) -> shifts.ShiftTests:
    """Series (S, T) int8 against labels (T,), in tasks that follow from the number of series."""
    targets = np.stack([effects.target(label) for label in labels])
    targets = effects.standardized(targets).astype(np.float32)
    tasks = [
        FinderTask(series[first : first + SERIES_A_TASK], targets)
        for first in range(0, len(series), SERIES_A_TASK)
    ]
    observed: list[np.ndarray] = [np.empty(0)] * len(tasks)
    maxima = np.zeros(targets.shape, np.float32)
    progress = Progress("cell finder", len(series), "series")
    for index, result in run(FinderTask.run, tasks):
        decoded = {
            name: np.frombuffer(base64.b64decode(value), np.float32)
            for name, value in result.items()
        }
        observed[index] = decoded["observed"].reshape(-1, len(labels))
        np.maximum(maxima, decoded["maxima"].reshape(targets.shape), out=maxima)
        progress.add(len(observed[index]))
    progress.finish()
    return shifts.ShiftTests(np.concatenate(observed), maxima)


def fast_length(size: int) -> int:
    """The largest length up to `size` without a prime factor above 5: an FFT of another length can
    take ten times as long.
    """
    for length in range(size, 0, -1):
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
    return 0


def _series(signals: Mapping[str, np.ndarray]) -> np.ndarray:
    """Signals (T, L, H) by name as series (S, T): signal, then layer, then unit."""
    flat = [values.reshape(len(values), -1).T for values in signals.values()]
    return np.ascontiguousarray(np.concatenate(flat))


def _usable(labels: list[Label], half: int) -> tuple[list[Label], tuple[str, ...]]:
    """Labels that both halves have enough of, and the names of the others."""
    usable = []
    too_rare = []
    for label in labels:
        is_enough = all(_varies(label.values[part]) for part in (slice(half), slice(half, None)))
        if is_enough:
            usable.append(label)
        else:
            too_rare.append(label.name)
    return usable, tuple(too_rare)


def _varies(values: np.ndarray) -> bool:
    most_frequent = np.unique(values, return_counts=True)[1].max()
    return bool(len(values) - most_frequent >= FEWEST)


def _part(label: Label, part: slice) -> Label:
    return Label(label.name, label.kind, label.values[part])
