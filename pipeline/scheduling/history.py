"""A corpus's attempts as a scheduler sees them: the latest one by one, older ones as a summary a
year.

A summary keeps all that a decision may need of the attempts that are folded into it: which corpus
versions have been trained on, and each schedule's newest attempt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

from pipeline.scheduling.config import TRAIN
from pipeline.scheduling.records import FORMAT, SUCCEEDED, Entry


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a year's folded attempts come to."""

    year: int
    """of their submission, in UTC"""
    last: int
    """the highest of their numbers"""
    counts: dict[str, dict[str, int]]
    """by schedule: how many attempts came out how"""
    seconds: dict[str, float]
    """by schedule: how long their jobs ran together"""
    trained: tuple[str, ...]
    """corpus versions that trainings succeeded on, NAME@VERSION, sorted"""
    newest: dict[str, Entry]
    """each schedule's newest attempt of the year"""
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        newest = {schedule: entry.to_json() for schedule, entry in self.newest.items()}
        return {**vars(self), "trained": list(self.trained), "newest": newest}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Summary:
        own = {key: value[key] for key in ("year", "last", "counts", "seconds", "format")}
        newest = {
            schedule: Entry.from_json(entry) for schedule, entry in dict(value["newest"]).items()
        }
        return cls(**own, trained=tuple(value["trained"]), newest=newest)


@dataclass(frozen=True)
class History:
    """A corpus's row of attempts, in the order of their numbers."""

    entries: list[Entry] = field(default_factory=list)
    """those that have files of their own"""
    summaries: list[Summary] = field(default_factory=list)
    """the rest, a summary a year, in the order of their last numbers"""
    folded_files: list[str] = field(default_factory=list)
    """files that these summaries replace, and nobody has removed yet"""

    @property
    def last(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    @property
    def is_busy(self) -> bool:
        """Whether the last attempt is under way."""
        return self.last is not None and self.last.ended is None

    @property
    def next_number(self) -> int:
        folded = [summary.last for summary in self.summaries]
        own = [entry.attempt.number for entry in self.entries]
        return max([*folded, *own], default=0) + 1

    @property
    def newest(self) -> dict[str, Entry]:
        """Each schedule's newest attempt."""
        found: dict[str, Entry] = {}
        for summary in self.summaries:
            found |= summary.newest
        return found | {entry.attempt.schedule: entry for entry in self.entries}

    def of(self, schedule: str) -> Iterator[Entry]:
        """A schedule's attempts: of those in a summary, the newest."""
        for summary in self.summaries:
            if schedule in summary.newest:
                yield summary.newest[schedule]
        yield from (entry for entry in self.entries if entry.attempt.schedule == schedule)

    def given_up(self, schedule: str) -> Iterator[Entry]:
        """A schedule's attempts that failed and are not tried again.

        No try is left, or the schedule's next attempt is of another firing, which took its place.
        """
        own = list(self.of(schedule))
        for entry, later in zip_longest(own, own[1:]):
            is_replaced = later is not None and _firing(later) != _firing(entry)
            if entry.has_failed and (is_replaced or entry.retry_at() is None):
                yield entry

    def has_trained_on(self, corpus: str) -> bool:
        """Whether a training on a corpus version, NAME@VERSION, came out well."""
        folded = any(corpus in summary.trained for summary in self.summaries)
        return folded or any(corpus in _trained_on(entry) for entry in self.entries)


def fold(summary: Summary | None, year: int, entries: list[Entry]) -> Summary:
    """A year's summary with further attempts, which have ended and come behind those in it."""
    counts = {name: dict(of) for name, of in summary.counts.items()} if summary else {}
    seconds = dict(summary.seconds) if summary else {}
    trained = set(summary.trained) if summary else set()
    newest = dict(summary.newest) if summary else {}
    for entry in entries:
        name = entry.attempt.schedule
        outcomes = counts.setdefault(name, {})
        outcomes[entry.status] = outcomes.get(entry.status, 0) + 1
        took = (entry.ended.outcome.seconds if entry.ended else None) or 0.0
        seconds[name] = round(seconds.get(name, 0.0) + took, 1)
        trained.update(_trained_on(entry))
        newest[name] = entry
    return Summary(
        year=year,
        last=entries[-1].attempt.number,
        counts=counts,
        seconds=seconds,
        trained=tuple(sorted(trained)),
        newest=newest,
    )


def by_year(entries: list[Entry]) -> dict[int, list[Entry]]:
    """Attempts by the year of their submission. It never falls from a number to the next: an
    attempt that a wrong clock submitted counts to the year of the one before it.
    """
    years: dict[int, list[Entry]] = {}
    year = 0
    for entry in entries:
        year = max(year, datetime.fromtimestamp(entry.attempt.submitted, UTC).year)
        years.setdefault(year, []).append(entry)
    return years


def _firing(entry: Entry) -> tuple[str, str]:
    return entry.attempt.instant, entry.attempt.stage


def _trained_on(entry: Entry) -> list[str]:
    """The corpus version that a training succeeded on, if it is one."""
    if entry.attempt.stage != TRAIN or entry.status != SUCCEEDED:
        return []
    command = entry.attempt.command
    return list(command[command.index("--corpus") + 1 :][:1])
