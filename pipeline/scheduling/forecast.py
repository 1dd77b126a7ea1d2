"""What a scheduler would do: when each schedule fires, what it would submit now, and which root its
jobs would use. No cluster is asked, and nothing is recorded.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pipeline.scheduling.calendar import AHEAD, next_firing
from pipeline.scheduling.config import BUILD, TRAIN, Schedule
from pipeline.scheduling.history import History
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.records import Attempt, Entry
from pipeline.scheduling.scheduler import JobState, Scheduler
from pipeline.scheduling.telling import Telling

FIRINGS_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class ScheduleForecast:
    """One schedule: its next firings (ISO 8601, UTC), and the jobs of a firing.

    `train` is "" where it trains nothing; it runs only when the build gave a new version, whose
    name stands in for VERSION. `root` is where these jobs keep everything.
    """

    schedule: str
    corpus: str
    cron: str
    timezone: str
    firings: tuple[str, ...]
    build: str
    train: str
    root: str
    busy: bool


@dataclass(frozen=True, kw_only=True)
class Submission:
    """An attempt that a look at this moment would submit."""

    job_id: str
    schedule: str
    stage: str
    command: str


@dataclass(frozen=True, kw_only=True)
class SchedulesForecast:
    """All schedules of a file, and what a look now would submit.

    A corpus whose last job has not said how it ended is busy: only its cluster knows more.
    """

    root: str
    schedules: tuple[ScheduleForecast, ...]
    now: tuple[Submission, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def forecast(
    schedules: list[Schedule], root: str, now: datetime, run_now: str = ""
) -> SchedulesForecast:
    """What a look now would do; with `run_now`, what firing that schedule would.

    InputError for a schedule that is none, and for one whose corpus is busy.
    """
    ledger = _ReadingLedger(root)
    jobs = _Recorder()
    scheduler = Scheduler(schedules, ledger, jobs, root, _Silent())
    if run_now:
        scheduler.run_now(run_now, now)
    else:
        scheduler.look(now)
    rows = [_row(schedule, ledger, root, now) for schedule in schedules]
    return SchedulesForecast(
        root=root,
        schedules=tuple(rows),
        now=tuple(
            Submission(
                job_id=attempt.job_id,
                schedule=attempt.schedule,
                stage=attempt.stage,
                command=shlex.join(attempt.command),
            )
            for attempt in jobs.submitted
        ),
    )


class _ReadingLedger(Ledger):
    """A ledger that records nothing: what a scheduler would append, it may believe appended."""

    def append(self, attempt: Attempt) -> bool:
        del attempt
        return True

    def fold(self, corpus: str, history: History) -> None:
        del corpus, history

    def tell(self, attempt: Attempt) -> bool:
        del attempt
        return True

    def known_since(self, schedule: str, now: float) -> float:
        """A schedule that nobody has seen is seen now, and owes nothing from before."""
        believed = [time for time in self._known(schedule) if time <= now + AHEAD.total_seconds()]
        return max(believed, default=now)


class _Silent(Telling):
    """Tells nobody anything."""

    def tell(self, on_failure: str, entry: Entry, now: datetime) -> bool:
        del on_failure, entry, now
        return False


class _Recorder:
    """A place to run jobs that runs none. What runs elsewhere is taken to be under way still."""

    def __init__(self) -> None:
        self.submitted: list[Attempt] = []

    def submit(self, attempt: Attempt) -> None:
        self.submitted.append(attempt)

    def state(self, job_id: str) -> JobState:
        del job_id
        return JobState.UNDER_WAY

    def output(self, job_id: str) -> str:
        del job_id
        return ""


def _row(schedule: Schedule, ledger: Ledger, root: str, now: datetime) -> ScheduleForecast:
    build = schedule.command(BUILD, root)
    train = schedule.command(TRAIN, root, f"{schedule.corpus}@VERSION")
    return ScheduleForecast(
        schedule=schedule.name,
        corpus=schedule.corpus,
        cron=str(schedule.cron),
        timezone=schedule.timezone,
        firings=tuple(_firings(schedule, now)),
        build=shlex.join(build),
        train="" if schedule.train is None else shlex.join(train),
        # The schedule's own flags may name another root; the last one on the line counts.
        root=build[len(build) - build[::-1].index("--root")],
        busy=ledger.history(schedule.corpus).is_busy,
    )


def _firings(schedule: Schedule, now: datetime) -> list[str]:
    found: list[str] = []
    firing = next_firing(schedule, now)
    while firing and len(found) < FIRINGS_SHOWN:
        found.append(firing.isoformat())
        firing = next_firing(schedule, firing)
    return found
