"""What to do next: follow what runs, retry what failed, train on what changed, build what is due. One look at a time.

A look reads the ledger, asks after the jobs that run, and submits at most one attempt a corpus. It can be repeated, killed
anywhere, or made by two schedulers at once: the ledger lets one of them through.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pipeline.errors import InputError
from pipeline.scheduling.calendar import instant, latest_firing, next_firing, stamp
from pipeline.scheduling.config import Schedule
from pipeline.scheduling.ledger import FAILED, LOST, SUCCEEDED, Attempt, Entry, Ledger

log = logging.getLogger("unreasonable")

RUNNING, ENDED = "running", "ended"


class Jobs(Protocol):
    """Where attempts run."""

    def submit(self, attempt: Attempt) -> None:
        """Start an attempt under its id; one that is there already is left alone."""

    def status(self, job_id: str) -> str | None:
        """RUNNING (or waiting to), ENDED, or None for an id that nobody knows: never submitted, or its cluster was lost."""


@dataclass(frozen=True)
class Scheduler:
    """Schedules over one ledger and one place to run jobs."""

    schedules: list[Schedule]
    ledger: Ledger
    jobs: Jobs
    root: str

    def look(self, now: datetime) -> None:
        """One look at every corpus."""
        for corpus in dict.fromkeys(schedule.corpus for schedule in self.schedules):
            entries = self.ledger.entries(corpus)
            if entries and not entries[-1].ended:
                self._follow(entries[-1])
                entries = self.ledger.entries(corpus)
            if entries and not entries[-1].ended:
                continue
            attempt = self._next(corpus, entries, now)
            if attempt:
                self._submit(attempt)

    def run_now(self, name: str, now: datetime) -> Attempt:
        """Submit a build of a schedule as if it fired now. InputError when its corpus is being built, or has just fired."""
        schedule = self.named(name)
        entries = self.ledger.entries(schedule.corpus)
        if entries and not entries[-1].ended:
            raise InputError(f"corpus {schedule.corpus} is busy: {entries[-1].attempt.job_id} is {entries[-1].status}.")
        attempt = self._attempt(schedule, entries, stamp(now), "build", 0)
        if not self._submit(attempt):
            raise InputError(f"corpus {schedule.corpus} has just been taken by another scheduler; see --list.")
        return attempt

    def named(self, name: str) -> Schedule:
        for schedule in self.schedules:
            if schedule.name == name:
                return schedule
        raise InputError(f"no schedule {name!r}; there are {', '.join(schedule.name for schedule in self.schedules)}.")

    def _follow(self, entry: Entry) -> None:
        """Ask after an attempt that has not said how it ended."""
        attempt, status = entry.attempt, self.jobs.status(entry.attempt.job_id)
        entry = self.ledger.entry(attempt.corpus, attempt.number)  # its last word comes before its job's end
        if entry.ended or status == RUNNING:
            return
        if status is None and not entry.started:
            log.info("%s was not submitted, or its cluster is lost: submitting it again", attempt.job_id)
            self.jobs.submit(attempt)
            return
        how = "the job was killed" if status == ENDED else "the cluster it ran on is lost"
        if self.ledger.end(attempt, FAILED if status == ENDED else LOST, {"error": how}):
            log.warning("%s: %s", attempt.job_id, how)

    def _next(self, corpus: str, entries: list[Entry], now: datetime) -> Attempt | None:
        """The attempt that a corpus at rest needs, if any."""
        last = entries[-1] if entries else None
        if last and (retry_at := last.retry_at()) is not None:
            return self._again(entries, last) if now.timestamp() >= retry_at else None
        if last and (training := self._training(entries, last)):
            return training
        due = []
        for schedule in self.schedules:
            if schedule.corpus == corpus:
                known = datetime.fromtimestamp(self.ledger.known_since(schedule.name, now.timestamp()), now.tzinfo)
                done = [instant(e.attempt.instant) for e in entries if e.attempt.schedule == schedule.name]
                if fired := latest_firing(schedule, max([known, *done]), now):
                    due.append((fired, schedule.name, schedule))
        if not due:
            return None
        fired, _, schedule = min(due)
        return self._attempt(schedule, entries, stamp(fired), "build", 0)

    def _training(self, entries: list[Entry], last: Entry) -> Attempt | None:
        """The training of a corpus version that the last build gave, unless the schedule has trained on it."""
        schedule = next((schedule for schedule in self.schedules if schedule.name == last.attempt.schedule), None)
        if schedule is None or schedule.train is None or last.attempt.stage != "build" or last.status != SUCCEEDED:
            return None
        version = ((last.ended or {}).get("result") or {}).get("version")
        corpus = f"{schedule.corpus}@{version}"
        trained = any(corpus in e.attempt.command and e.attempt.stage == "train" and e.status == SUCCEEDED for e in entries)
        if not version or trained:
            return None
        return self._attempt(schedule, entries, last.attempt.instant, "train", 0, corpus)

    def _again(self, entries: list[Entry], last: Entry) -> Attempt:
        """The next try of what failed."""
        old = last.attempt
        return Attempt(**{**vars(old), "number": old.number + 1, "tried": old.tried + 1, **self._signed()})

    def _attempt(
        self, schedule: Schedule, entries: list[Entry], fired: str, stage: str, tried: int, corpus: str = ""
    ) -> Attempt:
        number = entries[-1].attempt.number + 1 if entries else 1
        return Attempt(
            corpus=schedule.corpus, number=number, schedule=schedule.name, instant=fired, stage=stage, tried=tried,
            command=tuple(schedule.command(stage, self.root, corpus)), retries=schedule.retries,
            retry_after_s=float(schedule.retry_after_s), **self._signed(),
        )  # fmt: skip

    def _signed(self) -> dict[str, Any]:
        return {"by": self.ledger.writer, "submitted": datetime.now().timestamp()}

    def _submit(self, attempt: Attempt) -> bool:
        if not self.ledger.append(attempt):
            return False
        log.info("submitting %s: %s", attempt.job_id, " ".join(attempt.command))
        self.jobs.submit(attempt)
        return True


def overview(schedules: list[Schedule], ledger: Ledger, now: datetime) -> list[dict[str, Any]]:
    """A row a schedule: when it fires next, and how it last came out."""
    rows = []
    for schedule in schedules:
        own = [entry for entry in ledger.entries(schedule.corpus) if entry.attempt.schedule == schedule.name]
        last, following = own[-1] if own else None, next_firing(schedule, now)
        rows.append(
            {
                "schedule": schedule.name,
                "corpus": schedule.corpus,
                "next": following.isoformat() if following else None,
                "last": last.attempt.instant if last else None,
                "stage": last.attempt.stage if last else None,
                "tried": last.attempt.tried + 1 if last else 0,
                "status": last.status if last else "never",
                "error": (last.ended or {}).get("error") if last else None,
                "result": (last.ended or {}).get("result") if last else None,
                "age_s": now.timestamp() - float((last.ended or {"time": last.attempt.submitted})["time"]) if last else None,
                "will_retry": bool(last and last.retry_at() is not None),
            }
        )
    return rows
