"""Pairs of a unit's signal and a label: which of them count, and how they are reported.

Shapes: T tokens of the second half, L layers, H hidden, S series (a signal of a unit), K labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.evaluation.intervals import Interval
from pipeline.explaining import effects
from pipeline.explaining.labels.label import Label, LabelKind

LEVEL = 0.05
MARGINS: dict[LabelKind, float] = {"binary": 0.05, "real": 0.1}  # AUROC, rank correlation


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


@dataclass(frozen=True, kw_only=True)
class Pairs:
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
