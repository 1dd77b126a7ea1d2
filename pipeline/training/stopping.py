"""Ctrl-C and SIGTERM for long work: the first asks it to stop in good order, the second interrupts."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

log = logging.getLogger("unreasonable")

R = TypeVar("R")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GLANCE_S = 0.1


def run_until_asked_to_stop(work: Callable[[], R], ask: Callable[[], Any]) -> R:
    """Run `work` in a thread and return its result or raise its error; on the first signal call
    `ask` and wait on.

    The second signal raises KeyboardInterrupt here. Off the main thread, where no signals arrive,
    it just runs.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    results: list[R] = []
    errors: list[BaseException] = []
    signals: list[int] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)

    before = {
        number: signal.signal(number, lambda number, _: signals.append(number))
        for number in SIGNALS
    }
    try:
        thread = threading.Thread(target=run, daemon=True, name="stoppable-work")
        thread.start()
        asked = False
        while thread.is_alive():
            thread.join(_GLANCE_S)
            if signals and not asked:
                asked = True
                log.info(
                    "stopping: this step will be finished and a checkpoint written; once more to interrupt"
                )
                ask()
            if len(signals) > 1:
                raise KeyboardInterrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if errors:
        raise errors[0]
    return results[0]
