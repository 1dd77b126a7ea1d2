"""What to do next: follow what runs, train on what changed, retry what failed, build what is due,
and tell of what has failed for good.

A look reads the ledger, asks after the jobs that run, and submits at most one attempt a corpus. It
can be repeated, killed anywhere, or made by two schedulers at once: the ledger lets one of them
through.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from pipeline.errors import InputError
from pipeline.scheduling.calendar import AHEAD, instant, latest_firing, stamp
from pipeline.scheduling.config import BUILD, TRAIN, Schedule
from pipeline.scheduling.history import History
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.records import FAILED, LOST, SUCCEEDED, Attempt, Entry, Outcome
from pipeline.scheduling.telling import Telling

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
class Due:
    """An attempt that could be made now, and since when, in seconds since 1970."""

    since: float
    attempt: Attempt


@dataclass(frozen=True)
class Scheduler:
    """Schedules over one ledger and one place to run jobs."""

    schedules: list[Schedule]
    ledger: Ledger
    jobs: Jobs
    root: str
    telling: Telling = field(default_factory=Telling)
    set_aside: set[str] = field(default_factory=set)
    """jobs of firings ahead of now that have been reported"""

    def look(self, now: datetime) -> None:
        """One look at every corpus, in the order of the file.

        A corpus that cannot be looked at keeps no other waiting: its error is raised in the end.
        """
        failed: list[Exception] = []
        corpora = list(dict.fromkeys(schedule.corpus for schedule in self.schedules))
        # Whoever is told may be slow to answer. So telling comes last.
        for step in (self._look_at, self._tell_of_failures):
            for corpus in corpora:
                try:
                    step(corpus, now)
                except Exception as error:  # stores and clusters have exceptions of their own
                    failed.append(error)
        if failed:
            raise failed[0]

    def _look_at(self, corpus: str, now: datetime) -> None:
        history = self.ledger.history(corpus)
        if history.last and history.is_busy:
            self._follow(history.last)
            history = self.ledger.history(corpus)
        if history.is_busy:
            return
        attempt = self._next(corpus, history, now)
        if attempt:
            self._submit(attempt)
        self.ledger.fold(corpus, history)

    def run_now(self, name: str, now: datetime) -> Attempt:
        """Submit a build of a schedule as if it fired now. InputError when its corpus is busy."""
        schedule = self.named(name)
        history = self.ledger.history(schedule.corpus)
        if history.last and history.is_busy:
            last = history.last
            raise InputError(
                f"corpus {schedule.corpus} is busy: {last.attempt.job_id} is {last.status}."
            )
        attempt = self._attempt(schedule, history, stamp(now), BUILD)
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

    def _follow(self, seen: Entry) -> None:
        """Ask after an attempt that has not said how it ended."""
        attempt = seen.attempt
        state = self.jobs.state(attempt.job_id)
        # A job records its end before its process ends. So ask the cluster first, then read the
        # ledger again: a job that is over and has recorded nothing was killed.
        entry = self.ledger.entry(attempt.corpus, attempt.number)
        if entry.ended or state is JobState.UNDER_WAY:
            return
        if state is JobState.OVER:
            self._give_up(attempt, FAILED, "the job was killed")
        elif seen.started:
            self._give_up(attempt, LOST, "the cluster it ran on is lost")
        elif entry.started:
            # It began after the cluster was asked: another scheduler has just submitted it. The
            # next look asks again.
            log.info("%s has just begun", attempt.job_id)
        else:
            log.info(
                "%s was not submitted, or its cluster is lost: submitting it again", attempt.job_id
            )
            self.jobs.submit(attempt)

    def _give_up(self, attempt: Attempt, status: str, reason: str) -> None:
        """Record how a job ended that could not do so itself."""
        if self.ledger.end(attempt, status, Outcome(error=reason)):
            log.warning("%s: %s", attempt.job_id, reason)

    def _next(self, corpus: str, history: History, now: datetime) -> Attempt | None:
        """The attempt that a corpus at rest needs, if any.

        A training on what has just been built comes first. Of retries and builds, the one that has
        been due for longest is next.
        """
        training = self._training(history)
        if training:
            return training
        due = [*self._due_retries(history, now), *self._due_builds(corpus, history, now)]
        # Of two that are due since one instant the name decides, so that all schedulers choose the
        # same.
        first = min(due, key=lambda each: (each.since, each.attempt.schedule), default=None)
        return first.attempt if first else None

    def _due_retries(self, history: History, now: datetime) -> list[Due]:
        """What failed and has waited long enough.

        Only a schedule's newest attempt is tried again: a later firing takes its place.
        """
        found = []
        for entry in history.newest.values():
            retry_at = entry.retry_at()
            if retry_at is not None and entry.ended:
                # An end far ahead of now was recorded by a wrong clock: it is no time to wait for.
                is_believed = entry.ended.time <= (now + AHEAD).timestamp()
                since = retry_at if is_believed else now.timestamp()
                if since <= now.timestamp():
                    found.append(Due(since, self._retry(entry.attempt, history)))
        return found

    def _retry(self, failed: Attempt, history: History) -> Attempt:
        """The next try of what failed, with the settings that it was first submitted with."""
        return replace(
            failed,
            number=history.next_number,
            tried=failed.tried + 1,
            by=self.ledger.writer,
            submitted=time.time(),
        )

    def _training(self, history: History) -> Attempt | None:
        """The training on the corpus version that the last attempt built, unless there was one."""
        last = history.last
        schedule = self._find(last.attempt.schedule) if last else None
        if last is None or schedule is None or schedule.train is None:
            return None
        version = _built_version(last)
        if not version:
            return None
        corpus = f"{schedule.corpus}@{version}"
        # A build whose sources have not changed gives the version that was there before.
        if history.has_trained_on(corpus):
            return None
        return self._attempt(schedule, history, last.attempt.instant, TRAIN, corpus)

    def _due_builds(self, corpus: str, history: History, now: datetime) -> list[Due]:
        """The builds of firings that have come, of all schedules of a corpus."""
        due = []
        for schedule in self.schedules:
            if schedule.corpus == corpus:
                fired = latest_firing(schedule, self._caught_up(schedule, history, now), now)
                if fired:
                    attempt = self._attempt(schedule, history, stamp(fired), BUILD)
                    due.append(Due(fired.timestamp(), attempt))
        return due

    def _caught_up(self, schedule: Schedule, history: History, now: datetime) -> datetime:
        """Up to when a schedule owes nothing: its last firing here, or when it was first seen.

        Firings far ahead of now, which a wrong clock saw, are set aside: they have not been yet.
        """
        known_since = self.ledger.known_since(schedule.name, now.timestamp())
        caught_up = [datetime.fromtimestamp(known_since, now.tzinfo)]
        for entry in history.of(schedule.name):
            fired = instant(entry.attempt.instant)
            if fired <= now + AHEAD:
                caught_up.append(fired)
            elif entry.attempt.job_id not in self.set_aside:
                self.set_aside.add(entry.attempt.job_id)
                log.warning(
                    "%s fired ahead of now: a clock was wrong; it is set aside",
                    entry.attempt.job_id,
                )
        return max(caught_up)

    def _tell_of_failures(self, corpus: str, now: datetime) -> None:
        """Tell those of a corpus's schedules that ask for it of what has failed for good."""
        for schedule in self.schedules:
            if schedule.corpus == corpus and schedule.on_failure:
                for entry in self.ledger.history(corpus).given_up(schedule.name):
                    if not entry.told and self.telling.tell(schedule.on_failure, entry, now):
                        self.ledger.tell(entry.attempt)

    def _attempt(
        self, schedule: Schedule, history: History, fired: str, stage: str, corpus: str = ""
    ) -> Attempt:
        """The first try of a stage, under the corpus's next number."""
        return Attempt(
            corpus=schedule.corpus,
            number=history.next_number,
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


def _built_version(entry: Entry) -> str | None:
    """The corpus version that an attempt built; None if it failed, runs, or was a training."""
    succeeded = entry.status == SUCCEEDED
    if entry.ended is None or not succeeded or entry.attempt.stage != BUILD:
        return None
    result = entry.ended.outcome.result or {}
    return result.get("version")
