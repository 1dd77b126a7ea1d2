"""What to do next: follow what runs, retry what failed, train on what changed, build what is due.

A look reads the ledger, asks after the jobs that run, and submits at most one attempt a corpus. It
can be repeated, killed anywhere, or made by two schedulers at once: the ledger lets one of them
through.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from pipeline.errors import InputError
from pipeline.scheduling.calendar import instant, latest_firing, stamp
from pipeline.scheduling.config import BUILD, TRAIN, Schedule
from pipeline.scheduling.ledger import FAILED, LOST, SUCCEEDED, Attempt, Entry, Ledger, Outcome

log = logging.getLogger("unreasonable")


class JobState(Enum):
    """What a cluster knows of a job's id."""

    UNDER_WAY = auto()
    """it runs, or waits to"""
    OVER = auto()
    """it has ended, well or not"""
    UNKNOWN = auto()
    """it was never submitted, or its cluster was lost"""


class Jobs(Protocol):
    """Where attempts run."""

    def submit(self, attempt: Attempt) -> None:
        """Start an attempt under its id; one that is there already is left alone."""

    def state(self, job_id: str) -> JobState:
        """What has become of a job."""

    def output(self, job_id: str) -> str:
        """What a job has logged so far; "" where nobody knows."""


@dataclass(frozen=True)
class Scheduler:
    """Schedules over one ledger and one place to run jobs."""

    schedules: list[Schedule]
    ledger: Ledger
    jobs: Jobs
    root: str

    def look(self, now: datetime) -> None:
        """One look at every corpus."""
        # Each corpus once, in the order of the file.
        for corpus in dict.fromkeys(schedule.corpus for schedule in self.schedules):
            entries = self.ledger.entries(corpus)
            if _busy(entries):
                self._follow(entries[-1])
                entries = self.ledger.entries(corpus)
            if _busy(entries):
                continue
            attempt = self._next(corpus, entries, now)
            if attempt:
                self._submit(attempt)

    def run_now(self, name: str, now: datetime) -> Attempt:
        """Submit a build of a schedule as if it fired now. InputError when its corpus is busy."""
        schedule = self.named(name)
        entries = self.ledger.entries(schedule.corpus)
        if _busy(entries):
            last = entries[-1]
            raise InputError(
                f"corpus {schedule.corpus} is busy: {last.attempt.job_id} is {last.status}."
            )
        attempt = self._attempt(schedule, entries, stamp(now), BUILD)
        if not self._submit(attempt):
            raise InputError(
                f"corpus {schedule.corpus} has just been taken by another scheduler; see --list."
            )
        return attempt

    def named(self, name: str) -> Schedule:
        """The schedule of a name. InputError for a name that is none."""
        schedule = self._find(name)
        if schedule is None:
            names = ", ".join(schedule.name for schedule in self.schedules)
            raise InputError(f"no schedule {name!r}; there are {names}.")
        return schedule

    def _find(self, name: str) -> Schedule | None:
        return next((schedule for schedule in self.schedules if schedule.name == name), None)

    def _follow(self, entry: Entry) -> None:
        """Ask after an attempt that has not said how it ended."""
        attempt = entry.attempt
        state = self.jobs.state(attempt.job_id)
        # A job records its end before its process ends. So ask the cluster first, then read the
        # ledger again: a job that is over and has recorded nothing was killed.
        entry = self.ledger.entry(attempt.corpus, attempt.number)
        if entry.ended or state is JobState.UNDER_WAY:
            return
        if state is JobState.OVER:
            self._give_up(attempt, FAILED, "the job was killed")
        elif entry.started:
            self._give_up(attempt, LOST, "the cluster it ran on is lost")
        else:
            log.info(
                "%s was not submitted, or its cluster is lost: submitting it again", attempt.job_id
            )
            self.jobs.submit(attempt)

    def _give_up(self, attempt: Attempt, status: str, reason: str) -> None:
        """Record how a job ended that could not do so itself."""
        if self.ledger.end(attempt, status, Outcome(error=reason)):
            log.warning("%s: %s", attempt.job_id, reason)

    def _next(self, corpus: str, entries: list[Entry], now: datetime) -> Attempt | None:
        """The attempt that a corpus at rest needs, if any.

        A retry comes before a training, a training before a build that is due.
        """
        if entries:
            last = entries[-1]
            retry_at = last.retry_at()
            if retry_at is not None:
                # A corpus that waits for a retry builds nothing else meanwhile.
                return self._retry(last.attempt) if now.timestamp() >= retry_at else None
            training = self._training(entries)
            if training:
                return training
        return self._due_build(corpus, entries, now)

    def _retry(self, failed: Attempt) -> Attempt:
        """The next try of what failed, with the settings that it was first submitted with."""
        return replace(
            failed,
            number=failed.number + 1,
            tried=failed.tried + 1,
            by=self.ledger.writer,
            submitted=time.time(),
        )

    def _training(self, entries: list[Entry]) -> Attempt | None:
        """The training on the corpus version that the last attempt built, unless there was one."""
        last = entries[-1]
        schedule = self._find(last.attempt.schedule)
        if schedule is None or schedule.train is None:
            return None
        version = _built_version(last)
        if not version:
            return None
        corpus = f"{schedule.corpus}@{version}"
        # A build whose sources have not changed gives the version that was there before.
        if any(_trained_on(corpus, entry) for entry in entries):
            return None
        return self._attempt(schedule, entries, last.attempt.instant, TRAIN, corpus)

    def _due_build(self, corpus: str, entries: list[Entry], now: datetime) -> Attempt | None:
        """The build of the firing that has waited longest, of all schedules of a corpus."""
        due = []
        for schedule in self.schedules:
            if schedule.corpus == corpus:
                fired = latest_firing(schedule, self._caught_up(schedule, entries, now), now)
                if fired:
                    due.append((fired, schedule))
        if not due:
            return None
        # Of two that fired at one instant the name decides, so that all schedulers choose the same.
        fired, schedule = min(due, key=lambda firing: (firing[0], firing[1].name))
        return self._attempt(schedule, entries, stamp(fired), BUILD)

    def _caught_up(self, schedule: Schedule, entries: list[Entry], now: datetime) -> datetime:
        """Up to when a schedule owes nothing: its last firing here, or when it was first seen."""
        known_since = self.ledger.known_since(schedule.name, now.timestamp())
        own = [entry.attempt for entry in entries if entry.attempt.schedule == schedule.name]
        fired = [instant(attempt.instant) for attempt in own]
        return max([datetime.fromtimestamp(known_since, now.tzinfo), *fired])

    def _attempt(
        self, schedule: Schedule, entries: list[Entry], fired: str, stage: str, corpus: str = ""
    ) -> Attempt:
        """The first try of a stage, under the corpus's next number."""
        return Attempt(
            corpus=schedule.corpus,
            number=entries[-1].attempt.number + 1 if entries else 1,
            schedule=schedule.name,
            instant=fired,
            stage=stage,
            tried=0,
            command=tuple(schedule.command(stage, self.root, corpus)),
            submitted=time.time(),
            by=self.ledger.writer,
            retries=schedule.retries,
            retry_after_s=float(schedule.retry_after_s),
        )

    def _submit(self, attempt: Attempt) -> bool:
        """Record an attempt, then start it; False when another scheduler has taken its number."""
        # In this order: a scheduler that dies between the two leaves a recorded attempt, which the
        # next look submits.
        if not self.ledger.append(attempt):
            return False
        log.info("submitting %s: %s", attempt.job_id, " ".join(attempt.command))
        self.jobs.submit(attempt)
        return True


def _busy(entries: list[Entry]) -> bool:
    """Whether a corpus's last attempt is under way."""
    return bool(entries) and entries[-1].ended is None


def _built_version(entry: Entry) -> str | None:
    """The corpus version that an attempt built; None if it failed, runs, or was a training."""
    succeeded = entry.status == SUCCEEDED
    if entry.ended is None or not succeeded or entry.attempt.stage != BUILD:
        return None
    result = entry.ended.outcome.result or {}
    return result.get("version")


def _trained_on(corpus: str, entry: Entry) -> bool:
    """Whether an attempt was a training on a corpus version, and came out well."""
    trained = entry.attempt.stage == TRAIN and entry.status == SUCCEEDED
    return trained and corpus in entry.attempt.command
