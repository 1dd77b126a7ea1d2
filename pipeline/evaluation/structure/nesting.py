"""What opens and what closes: brackets, environments, tags. One walk for all of them.

What is still open at a text's end is no fault: a sample ends where its length is reached.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.evaluation.structure.findings import EXCERPT, Figure, Found, Tally, finished

DEEPEST = 10_000  # a text of 10 MB of "(" would otherwise hold a stack of 10 million entries
DISTANCES = (10, 100, 1_000)  # bytes between opener and closer: the ends of the bins
_BRACKET = re.compile(rb"[()\[\]{}]")
_OPENER = {b")": "(", b"]": "[", b"}": "{"}


@dataclass(frozen=True)
class Event:
    """Something that opens or closes. What closes `name` has the same name."""

    offset: int
    name: str
    opens: bool


@dataclass(frozen=True)
class Outcome:
    """What became of an opener or a closer.

    how: "closed" (by its own closer), "wrong" (a closer of another name came), "unclosed" (what is
    around it closed first), "stray" (a closer with nothing open), "open" (still open at the end),
    "too deep" (the walk stopped here). `offset` is the closer's, or the opener's for "unclosed",
    "open" and "too deep". `opener` is the place of what is closed or innermost, -1 for none, and
    `expected` its name.
    """

    how: str
    offset: int
    name: str
    opener: int
    expected: str


def outcomes(events: Iterable[Event], wrong_closes: bool) -> Iterator[Outcome]:
    """Walk through a text's openers and closers, in order.

    A closer whose own opener lies deeper closes it and leaves the inner ones unclosed. One that
    has no opener at all is wrong; `wrong_closes` says whether it ends the innermost one, as
    `\\end{lemma}` ends a proof that was opened before it, or is passed over, as a stray bracket is.
    """
    stack: list[Event] = []
    is_open: Counter[str] = Counter()
    for event in events:
        if event.opens:
            if len(stack) == DEEPEST:
                yield Outcome("too deep", event.offset, event.name, event.offset, event.name)
                return
            stack.append(event)
            is_open[event.name] += 1
            continue
        if not stack:
            yield Outcome("stray", event.offset, event.name, -1, "")
            continue
        innermost = stack[-1]
        if not is_open[event.name]:
            yield Outcome("wrong", event.offset, event.name, innermost.offset, innermost.name)
            if wrong_closes:
                is_open[stack.pop().name] -= 1
            continue
        # Every turn takes an opener off the stack, so that the whole walk is linear.
        while stack[-1].name != event.name:
            inner = stack.pop()
            is_open[inner.name] -= 1
            yield Outcome("unclosed", inner.offset, inner.name, inner.offset, inner.name)
        opener = stack.pop()
        is_open[opener.name] -= 1
        yield Outcome("closed", event.offset, event.name, opener.offset, opener.name)
    for left in stack:
        yield Outcome("open", left.offset, left.name, left.offset, left.name)


class Balance:
    """Counts what closes and what does not, over files."""

    def __init__(self, what: str, *, wrong_closes: bool, by_distance: bool = False) -> None:
        self.what = what
        self.wrong_closes = wrong_closes
        self.closers = Tally(f"{what}: closers that close what is open")
        self.openers = Tally(f"{what}: openers that are closed")
        self.left_open = 0
        self.bins = [Tally(f"{what}: closers, {name}") for name in _bin_names()]
        self.by_distance = by_distance

    def add(self, file: str, text: bytes, events: Iterable[Event]) -> None:
        """Walk through one file. `text` is what findings show."""
        for outcome in outcomes(events, self.wrong_closes):
            self._count(file, text, outcome)

    def _count(self, file: str, text: bytes, outcome: Outcome) -> None:
        at = outcome.offset
        here = text[at : at + EXCERPT]
        if outcome.how == "open":
            self.left_open += 1
        elif outcome.how == "too deep":
            self.openers.fails(file, at, f"nested deeper than {DEEPEST}, not read on", here)
        elif outcome.how == "unclosed":
            self.openers.fails(file, at, f"{outcome.name} is not closed", here)
        elif outcome.how == "stray":
            self.closers.fails(file, at, "closes nothing", here)
        else:
            closed = outcome.how == "closed"
            if closed:
                self.openers.holds()
            elif self.wrong_closes:
                kind = f"{outcome.expected} is closed as {outcome.name}"
                opened = text[outcome.opener : outcome.opener + EXCERPT]
                self.openers.fails(file, outcome.opener, kind, opened)
            distance = at - outcome.opener
            kind = f"closes {outcome.expected} of byte {outcome.opener}"
            for tally in (self.closers, self.bins[bisect_left(DISTANCES, distance)]):
                if closed:
                    tally.holds()
                else:
                    tally.fails(file, at, kind, here)

    def found(self) -> Found:
        tallies = [self.closers, self.openers, *(self.bins if self.by_distance else ())]
        left = Figure(name=f"{self.what}: still open at the end", value=float(self.left_open))
        return Found(checks=finished(tallies), figures=(left,))


def bracket_events(code: bytes) -> Iterator[Event]:
    """Round, square and curly brackets, named by their opener."""
    for match in _BRACKET.finditer(code):
        char = match.group()
        yield Event(match.start(), _OPENER.get(char, char.decode()), char not in _OPENER)


def _bin_names() -> list[str]:
    names = []
    before = 0
    for end in DISTANCES:
        names.append(f"opened {before + 1:,} to {end:,} bytes before")
        before = end
    return [*names, f"opened more than {before:,} bytes before"]
