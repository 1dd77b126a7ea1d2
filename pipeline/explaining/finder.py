"""Which units track something: every unit against every label of a text.

Found on the first half of a text, family-wise at LEVEL over all units and labels (shifts). On the
second half a pair's effect must then beat two others by a margin: an n-gram table, and the best
unit of an untrained network of the same shape. With 100,000 characters everything is significant;
the margins are what makes a finding worth anybody's time.

Shapes: T tokens, L layers, H hidden, S series (a signal of a unit), K labels.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.evaluation.intervals import Interval
from pipeline.explaining import baselines, effects, shifts
from pipeline.explaining.labels.label import Label, LabelKind
from pipeline.progress import Progress
from pipeline.tasks import Runner, run_here

LEVEL = 0.05
MARGINS: dict[LabelKind, float] = {"binary": 0.05, "real": 0.1}  # AUROC, rank correlation
FEWEST = 50  # symbols of a half that have a label, and that have it not
SERIES_A_TASK = 64  # 1 s with 20 labels of 50,000 symbols
SHORTEST = 2 * FEWEST  # tokens of a half


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A unit's signal and a label. `effect` is the second half's AUROC or rank correlation, turned
    by the direction (`sign`) of the first half, where it was `first_effect`.

    `counts` says whether it is a finding: p at most LEVEL, and both baselines beaten by the margin.
    """

    layer: int
    unit: int
    signal: str
    label: str
    kind: LabelKind
    sign: int
    first_effect: float
    effect: float
    interval: Interval | None
    p: float
    ngram: float
    untrained: float
    counts: bool

    @property
    def excess(self) -> float:
        """By how many margins it beats the better baseline."""
        return (self.effect - max(self.ngram, self.untrained)) / MARGINS[self.kind]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "interval": self.interval and self.interval.to_json()}


@dataclass(frozen=True, kw_only=True)
class LabelResult:
    """A label of the text: the share of symbols it is on at (or its mean), what the baselines make
    of it, how many units are found for it, and the one of them that was best on the first half; the
    best of all units there where none is found.
    """

    label: str
    kind: LabelKind
    mean: float
    ngram: float
    untrained: float
    units: int
    best: Finding

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "best": self.best.to_json()}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the finder found. `findings` has each unit once, with the label it beats the baselines
    for by most, best first; `too_rare` are labels that a half has too little of.
    """

    first_half: int  # tokens
    second_half: int
    findings: tuple[Finding, ...]
    labels: tuple[LabelResult, ...]
    too_rare: tuple[str, ...]


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
    pairs = _Pairs(
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
            "and 50,000 to find much. Give more text."
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


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """All pairs of a series and a label (S, K), with what decides whether one counts.

    `series` (S, T) and `second` labels are of the second half; `shape` is (L, H).
    """

    names: list[str]
    shape: tuple[int, ...]
    series: np.ndarray
    second: list[Label]
    first_figures: np.ndarray
    figures: np.ndarray
    p: np.ndarray
    ngrams: list[float]
    untrained: list[float]

    def findings(self) -> tuple[Finding, ...]:
        """The best pair of each unit that has one that counts."""
        best: dict[tuple[int, int], Finding] = {}
        for row, column in np.argwhere(self.p <= LEVEL).tolist():
            finding = self.pair(row, column)
            key = (finding.layer, finding.unit)
            if finding.counts and (key not in best or finding.excess > best[key].excess):
                best[key] = finding
        ranked = sorted(best.values(), key=lambda each: (-each.excess, each.layer, each.unit))
        return self.with_intervals(ranked)

    def label_results(self) -> tuple[LabelResult, ...]:
        best = []
        for column, label in enumerate(self.second):
            figures = self.first_figures[:, column]
            distances = np.abs(figures - (0.5 if label.kind == "binary" else 0.0))
            counted = self._counted(column)
            rows = [self._row(each) for each in counted] or list(range(len(distances)))
            best.append(self.pair(max(rows, key=distances.__getitem__), column))
        results = []
        for column, finding in enumerate(self.with_intervals(best)):
            label = self.second[column]
            results.append(
                LabelResult(
                    label=label.name,
                    kind=label.kind,
                    mean=float(label.values.mean()),
                    ngram=self.ngrams[column],
                    untrained=self.untrained[column],
                    units=len({(each.layer, each.unit) for each in self._counted(column)}),
                    best=finding,
                )
            )
        return tuple(results)

    def pair(self, row: int, column: int) -> Finding:
        """A pair's finding, without an interval."""
        kind = self.second[column].kind
        first = float(self.first_figures[row, column])
        sign = 1 if first >= (0.5 if kind == "binary" else 0.0) else -1
        effect = effects.scaled(kind, float(self.figures[row, column]), sign)
        p = float(self.p[row, column])
        bar = max(self.ngrams[column], self.untrained[column]) + MARGINS[kind]
        layers, hidden = self.shape
        signal, unit = divmod(row, layers * hidden)
        return Finding(
            layer=unit // hidden,
            unit=unit % hidden,
            signal=self.names[signal],
            label=self.second[column].name,
            kind=kind,
            sign=sign,
            first_effect=effects.scaled(kind, first, sign),
            effect=effect,
            interval=None,
            p=p,
            ngram=self.ngrams[column],
            untrained=self.untrained[column],
            counts=p <= LEVEL and effect >= bar,
        )

    def with_intervals(self, findings: list[Finding]) -> tuple[Finding, ...]:
        targets = {label.name: effects.target(label) for label in self.second}
        asked = (
            effects.Asked(
                each.kind,
                effects.ranks_of_bytes(self.series[self._row(each)]),
                targets[each.label],
                each.sign,
            )
            for each in findings
        )
        found = effects.intervals(asked, self.series.shape[1])
        return tuple(
            replace(each, interval=interval) for each, interval in zip(findings, found, strict=True)
        )

    def _row(self, finding: Finding) -> int:
        layers, hidden = self.shape
        signal = self.names.index(finding.signal)
        return (signal * layers + finding.layer) * hidden + finding.unit

    def _counted(self, column: int) -> list[Finding]:
        """The pairs of a label that count."""
        rows = np.flatnonzero(self.p[:, column] <= LEVEL).tolist()
        return [pair for pair in (self.pair(row, column) for row in rows) if pair.counts]


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
