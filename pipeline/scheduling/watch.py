"""A scheduler that stays: it looks, waits and looks again, for good or until one firing is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import NoReturn

from pipeline.progress import duration
from pipeline.scheduling.calendar import utc_now
from pipeline.scheduling.ledger import Attempt, Ledger
from pipeline.scheduling.scheduler import Scheduler

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

    A look that fails ends it: a person is waiting and sees why.
    """
    attempt = scheduler.run_now(name, clock())
    while True:
        sleep(_FOLLOW_EVERY_S)
        scheduler.look(clock())
        if _is_over(scheduler.ledger, attempt):
            return


def _is_over(ledger: Ledger, attempt: Attempt) -> bool:
    """Whether nothing more will come of an attempt's firing."""
    entries = ledger.entries(attempt.corpus)
    last = [entry for entry in entries if entry.attempt.instant == attempt.instant][-1]
    return last == entries[-1] and last.ended is not None and last.retry_at() is None
