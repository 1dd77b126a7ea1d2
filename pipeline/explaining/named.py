"""The cells that the post names, each looked for in this model on this text.

Karpathy, "The Unreasonable Effectiveness of Recurrent Neural Networks" (2015), and Karpathy,
Johnson and Fei-Fei (2015, figure 2): line position, quotes, if statements, comments and quotes,
depth, the newline; URLs' www and the [[ ]] environment of the Wikipedia model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.explaining.findings import Finding, Found

Verdict = Literal["found", "not found", "too rare", "no such label"]


@dataclass(frozen=True)
class NamedCell:
    """A cell of the post, and the labels that would be it, the nearest first."""

    name: str
    labels: tuple[str, ...]


NAMED = (
    NamedCell("line position", ("position in line",)),
    NamedCell("quotes", ("inside quotes",)),
    NamedCell("if statement", ("inside an if-condition",)),
    NamedCell("comment or quote", ("inside a comment or quotes",)),
    NamedCell("depth", ("indentation", "brace depth", "bracket depth", "environment depth")),
    NamedCell("newline predictor", ("before a newline",)),
    NamedCell("www", ("www run",)),
    NamedCell("[[ ]] environment", ("inside [[ ]]",)),
    NamedCell("position in [[ ]]", ("position in [[ ]]",)),
)


@dataclass(frozen=True)
class NamedRow:
    """A cell of the post: found or not, and the unit that was nearest to it, where any label is.

    "too rare": the text has too little of it to tell. "no such label": texts of this kind have no
    such thing.
    """

    name: str
    verdict: Verdict
    label: str
    best: Finding | None
    text: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "best": self.best and self.best.to_json()}


def named_rows(found: Found, text: str) -> tuple[NamedRow, ...]:
    """A row for each of the post's cells; `text` says on what text."""
    return tuple(_row(cell, found, text) for cell in NAMED)


def _row(cell: NamedCell, found: Found, text: str) -> NamedRow:
    results = {result.label: result for result in found.labels}
    own = [results[label].best for label in cell.labels if label in results]
    if own:
        # Several labels may be the cell: the one that a unit beats the baselines for by most.
        best = max(own, key=lambda each: (each.counts, each.excess))
        verdict: Verdict = "found" if best.counts else "not found"
        return NamedRow(cell.name, verdict, best.label, best, text)
    rare = [label for label in cell.labels if label in found.too_rare]
    if rare:
        return NamedRow(cell.name, "too rare", rare[0], None, text)
    return NamedRow(cell.name, "no such label", cell.labels[0], None, text)
