"""A cluster of the tests' own, schedules for it, and a scheduler over both. No Ray, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.scheduling.config import Schedule
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.records import SUCCEEDED, Attempt, Outcome
from pipeline.scheduling.scheduler import JobState, Scheduler

START = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
BUILT = Outcome(exit_status=0, seconds=1.0, result={"version": "v1", "built": True})
BROKEN = Outcome(error="disk full", exit_status=1, seconds=1.0, result={})


class KilledError(Exception):
    """The scheduler dies here."""


@dataclass
class Cluster:
    """A cluster that runs nothing by itself: the test says what becomes of a job."""

    ledger: Ledger
    known: dict[str, Attempt] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    runs: list[str] = field(default_factory=list)  # jobs that did their work
    fail_before: bool = False
    fail_after: bool = False
    outputs: dict[str, str] = field(default_factory=dict)  # what jobs have logged

    def submit(self, attempt: Attempt) -> None:
        if self.fail_before:
            raise KilledError
        self.known.setdefault(attempt.job_id, attempt)
        if self.fail_after:
            raise KilledError

    def state(self, job_id: str) -> JobState:
        if job_id not in self.known:
            return JobState.UNKNOWN
        return JobState.OVER if job_id in self.ended else JobState.UNDER_WAY

    def output(self, job_id: str) -> str:
        return self.outputs.get(job_id, "")

    def run(self, status: str = SUCCEEDED, outcome: Outcome = BUILT) -> None:
        """Every known job that has not ended runs: it starts, if it may, and ends."""
        for job_id, attempt in self.known.items():
            if job_id not in self.ended:
                self.ended.add(job_id)
                if self.ledger.start(attempt):
                    self.runs.append(job_id)
                    self.ledger.end(attempt, status, outcome)

    def end_without_a_word(self) -> None:
        self.ended.update(self.known)

    def lose_head(self) -> None:
        self.known.clear()
        self.ended.clear()


def plan(name: str = "every", **changes: Any) -> Schedule:
    """A schedule of the corpus pystdlib that fires every minute, unless told otherwise."""
    settings: dict[str, Any] = {"cron": "* * * * *", "recipe": "pystdlib", "retries": 2}
    return Schedule(name=name, **(settings | changes))


def scheduler_at(folder: Path, *schedules: Schedule) -> tuple[Scheduler, Cluster]:
    """A scheduler of `plan()`, or of given schedules, and its cluster."""
    ledger = Ledger(str(folder))
    cluster = Cluster(ledger)
    return Scheduler(list(schedules) or [plan()], ledger, cluster, str(folder)), cluster


def attempt(**changes: Any) -> Attempt:
    """An attempt of which a test states only what it is about."""
    usual = Attempt(
        corpus="c",
        number=1,
        schedule="nightly",
        instant="20260501T120100Z",
        stage="build",
        tried=0,
        command=("jobs/build_corpus.py", "--recipe", "r", "--root", "/r"),
        submitted=1000.0,
        by="someone",
        retries=2,
        retry_after_s=60.0,
    )
    return replace(usual, **changes)
