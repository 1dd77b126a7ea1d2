"""A scheduler that stays: it looks, waits and looks again, for good or until one firing is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import NoReturn

from pipeline.progress import duration
from pipeline.scheduling.calendar import utc_now
from pipeline.scheduling.history import History
from pipeline.scheduling.records import Attempt, Entry
from pipeline.scheduling.scheduler import Jobs, Scheduler

log = logging.getLogger("unreasonable")

POLL_EVERY_S = 5.0  # between two looks for good: firings are minutes apart at least
_FOLLOW_EVERY_S = 1.0  # between two looks while a person waits for one firing
_ERROR_CHARS = 500


def watch(
    scheduler: Scheduler,
    clock: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> NoReturn:
    """Look every POLL_EVERY_S, for good.

    A look that fails is logged and made again: a cluster or a store may be away for a while.
    """
    log.info(
        "%d schedules; looking every %s; Ctrl-C ends the scheduler, not its jobs",
        len(scheduler.schedules),
        duration(POLL_EVERY_S),
    )
    while True:
        try:
            scheduler.look(clock())
        except Exception as error:  # stores and clusters have exceptions of their own
            reason = " ".join(str(error).split())[:_ERROR_CHARS]
            log.warning("looking again in %s: %s", duration(POLL_EVERY_S), reason)
        sleep(POLL_EVERY_S)


def run_to_end(
    scheduler: Scheduler,
    name: str,
    clock: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Build, retry and train as a firing of the schedule does, and stay until it is over.

    What its jobs log is shown as it comes. A look that fails ends it: a person is waiting and sees
    why.
    """
    attempt = scheduler.run_now(name, clock())
    tail = Tail(scheduler.jobs)
    while True:
        sleep(_FOLLOW_EVERY_S)
        # Before the look: only an attempt that had ended by then can have been followed up in it.
        history = scheduler.ledger.history(attempt.corpus)
        before = _newest(history, attempt)
        scheduler.look(clock())
        tail.show(before.attempt.job_id)
        after = _newest(scheduler.ledger.history(attempt.corpus), attempt)
        # A later firing of the schedule takes the place of a retry that is waited for.
        is_newest = history.newest[attempt.schedule] == before
        will_retry = is_newest and before.retry_at() is not None
        is_over = before.ended is not None and not will_retry
        if is_over and before == after:
            return


class Tail:
    """Shows what jobs log, each line once."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.shown: dict[str, int] = {}  # characters, by job

    def show(self, job_id: str) -> None:
        """Log the complete lines that a job has written since it was last asked."""
        new = self.jobs.output(job_id)[self.shown.get(job_id, 0) :]
        complete = new[: new.rfind("\n") + 1]
        self.shown[job_id] = self.shown.get(job_id, 0) + len(complete)
        for line in complete.splitlines():
            log.info("%s", line)


def _newest(history: History, attempt: Attempt) -> Entry:
    """The newest attempt of an attempt's firing: a retry, or a training on what it built.

    Other firings of the corpus may come behind it; they are no part of it.
    """
    firing = (attempt.schedule, attempt.instant)
    attempts = history.entries
    own = [entry for entry in attempts if (entry.attempt.schedule, entry.attempt.instant) == firing]
    return own[-1]
