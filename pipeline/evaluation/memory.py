"""What texts share with a training split: spans word for word, and n-grams that are new, as figures
and as a part of a report. verbatim.py finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.section import Section

LONGEST = 3  # spans that are named for each text


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A text to look for. Figures are also given by `group`: a temperature, or "val"."""

    name: str
    group: str
    text: bytes


@dataclass(frozen=True, kw_only=True)
class Span:
    """A piece of a sample that the training split has too.

    `start` and `length` are in symbols of the sample, `place` is a token of the split. `path` and
    `offset` say where its first symbol comes from, as the tracer does.
    """

    start: int
    length: int
    place: int
    path: str
    offset: int | None
    text: str


@dataclass(frozen=True, kw_only=True)
class NewShare:
    """How many of a text's n-grams are not in the training split."""

    n: int
    new: int
    total: int

    @property
    def share(self) -> float:
        return self.new / self.total if self.total else 0.0


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """What one text, or a group of texts, shares with the training split.

    `covered` symbols of `symbols` lie in a span of 32 or more. `longest` are the longest spans, one
    of each stretch of the text, longest first.
    """

    name: str
    group: str
    symbols: int
    covered: int
    ngrams: tuple[NewShare, ...]
    longest: tuple[Span, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "group": self.group,
            "symbols": self.symbols,
            "covered": self.covered,
            "ngrams": [vars(share) for share in self.ngrams],
            "longest": [vars(span) for span in self.longest],
        }


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What samples share with the training split of a corpus, one by one and by group."""

    corpus: str
    split: str
    tokens: int
    shortest: int  # symbols of a span
    texts: tuple[Remembered, ...]
    groups: tuple[Remembered, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "corpus": self.corpus,
            "split": self.split,
            "tokens": self.tokens,
            "shortest": self.shortest,
            "texts": [text.to_json() for text in self.texts],
            "groups": [group.to_json() for group in self.groups],
        }


def section(memory: Memory) -> Section:
    """The groups side by side, then the longest span of every group with its source."""
    sizes = [share.n for share in memory.groups[0].ngrams]
    head = (
        "texts",
        "symbols",
        f"in spans of {memory.shortest}+",
        *(f"new {n}-grams" for n in sizes),
    )
    rows = [head]
    for group in memory.groups:
        shares = [_percent(share.new, share.total) for share in group.ngrams]
        covered = _percent(group.covered, group.symbols)
        rows.append((group.group, f"{group.symbols:,}", covered, *shares))
    for group in memory.groups:
        for span in group.longest[:1]:
            place = f"{span.path}:{span.offset}"
            cells = (f"longest, {group.group}", f"{span.length:,}", place, span.text)
            rows.append(cells + ("",) * (len(head) - len(cells)))
    lead = (
        f"Spans of {memory.shortest} symbols and more that stand in the {memory.split} split of "
        f"{memory.corpus}, and n-grams that do not. Held-out text beside them says how much of it "
        "any text of the kind would share."
    )
    return Section(title="What it remembers", lead=lead, table=tuple(rows))


def by_group(texts: list[Remembered]) -> tuple[Remembered, ...]:
    """The texts of each group as one, in the order in which groups come first."""
    groups = []
    for name in dict.fromkeys(text.group for text in texts):
        own = [text for text in texts if text.group == name]
        spans = sorted((span for text in own for span in text.longest), key=lambda s: -s.length)
        by_n = zip(*(text.ngrams for text in own), strict=True)
        shares = tuple(
            NewShare(
                n=column[0].n,
                new=sum(share.new for share in column),
                total=sum(share.total for share in column),
            )
            for column in by_n
        )
        groups.append(
            Remembered(
                name=f"{len(own)} texts",
                group=name,
                symbols=sum(text.symbols for text in own),
                covered=sum(text.covered for text in own),
                ngrams=shares,
                longest=tuple(spans[:LONGEST]),
            )
        )
    return tuple(groups)


def _percent(part: int, whole: int) -> str:
    """A share as text; a dash where there is nothing to have a share of."""
    return f"{100 * part / whole:.1f}%" if whole else "-"
