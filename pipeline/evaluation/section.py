"""A part of a report: a table with a word about it, and pictures. Whoever renders it escapes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Section:
    """One subject of a report.

    `lead` says how to read it. The first row of `table` is its head; cells are plain text, which
    may come from a hostile corpus, as `excerpt` may, whose spaces and lines are kept. `plots` are
    SVG documents of our own making, with no text of a corpus in them. `links` are titles and paths
    of our own files, from the page's folder on.
    """

    title: str
    lead: str = ""
    table: tuple[tuple[str, ...], ...] = ()
    excerpt: str = ""
    plots: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, "lead": self.lead, "table": [list(row) for row in self.table]}
