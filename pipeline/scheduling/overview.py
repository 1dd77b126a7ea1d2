"""How each schedule stands: when it fires next, and how it last came out; a table, and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.progress import duration
from pipeline.scheduling.calendar import next_firing
from pipeline.scheduling.config import Schedule
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.records import RUNNING, SUBMITTED, SUCCEEDED

NEVER = "never"  # the status of a schedule without an attempt
_HEADINGS = ("schedule", "corpus", "next", "last", "came out", "age")
_ERROR_CHARS = 80  # in the table; the JSON has all that the ledger kept


@dataclass(frozen=True, kw_only=True)
class ScheduleRow:
    """One schedule. The fields from `last` on are its newest attempt's, if it has one.

    The job prints rows as JSON: these names are read by other programs.
    """

    schedule: str
    corpus: str
    next: str | None
    """ISO 8601 in UTC; None where the expression never fires again"""
    last: str | None = None
    """the firing it was for: calendar.stamp"""
    stage: str | None = None
    tried: int = 0
    """tries with this one"""
    status: str = NEVER
    error: str | None = None
    result: dict[str, Any] | None = None
    age_s: float | None = None
    """since it ended; since it was submitted, while it has not"""
    will_retry: bool = False

    def to_json(self) -> dict[str, Any]:
        return vars(self).copy()

    @property
    def given_up(self) -> bool:
        """Whether the firing has failed and is not tried again."""
        fine = self.status in (NEVER, SUBMITTED, RUNNING, SUCCEEDED)
        return not fine and not self.will_retry

    def cells(self) -> tuple[str, ...]:
        """The row as the table shows it."""
        error = f"({self.error[:_ERROR_CHARS]})" if self.error else ""
        came_out = " ".join(word for word in (self.stage, self.status, error) if word)
        age = "" if self.age_s is None else duration(self.age_s)
        return (
            self.schedule,
            self.corpus,
            self.next or "never",
            self.last or "",
            came_out,
            age,
        )


def overview(schedules: list[Schedule], ledger: Ledger, now: datetime) -> list[ScheduleRow]:
    """A row for each schedule, in their order."""
    return [_row(schedule, ledger, now) for schedule in schedules]


def table(rows: list[ScheduleRow]) -> list[tuple[str, ...]]:
    """Headings, then a line for each row."""
    return [_HEADINGS, *(row.cells() for row in rows)]


def _row(schedule: Schedule, ledger: Ledger, now: datetime) -> ScheduleRow:
    firing = next_firing(schedule, now)
    following = firing.isoformat() if firing else None
    # The ledger's rows are a corpus's; several schedules may share one.
    last = ledger.history(schedule.corpus).newest.get(schedule.name)
    if last is None:
        return ScheduleRow(schedule=schedule.name, corpus=schedule.corpus, next=following)
    ended = last.ended
    since = ended.time if ended else last.attempt.submitted
    return ScheduleRow(
        schedule=schedule.name,
        corpus=schedule.corpus,
        next=following,
        last=last.attempt.instant,
        stage=last.attempt.stage,
        tried=last.attempt.tried + 1,
        status=last.status,
        error=ended.outcome.error if ended else None,
        result=ended.outcome.result if ended else None,
        age_s=now.timestamp() - since,
        will_retry=last.retry_at() is not None,
    )
