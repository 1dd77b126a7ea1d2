"""Ctrl-C and SIGTERM for long work: the first asks it to stop in order, the second interrupts."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

log = logging.getLogger("unreasonable")

R = TypeVar("R")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL_S = 0.1  # how long a signal may go unseen


def run_until_asked_to_stop(work: Callable[[], R], ask: Callable[[], Any]) -> R:
    """Run `work` in a thread and return its result or raise its error.

    On the first signal `ask` is called, and the work waited for; the second raises
    KeyboardInterrupt here. Off the main thread, where no signals arrive, it just runs.

    The work needs a thread of its own: on the main thread Ray Train installs a SIGINT handler that
    ends a run without a checkpoint.
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

    def note(number: int, _: Any) -> None:
        signals.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        # A daemon: after a second signal the process must be able to end without it.
        thread = threading.Thread(target=run, daemon=True, name="stoppable-work")
        thread.start()
        has_asked = False
        while thread.is_alive():
            thread.join(_POLL_S)
            if signals and not has_asked:
                has_asked = True
                log.info(
                    "stopping: this step will be finished and a checkpoint written; "
                    "once more to interrupt"
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
