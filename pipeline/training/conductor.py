"""What the driver and the workers of a run tell each other: stop, the run came this far, it failed.

Plain Python. on_ray.py runs it as an actor on the driver's machine.
"""

from __future__ import annotations

from pipeline.progress import Standing

GIVE_UP_AFTER = 3  # restarts in a row that come no further than the ones before


class Conductor:
    """Lives beside the driver for one session of a run; rank 0 of every worker group talks to it.

    Ray's own limit counts the failures of a whole run, so a month-long run on machines that come
    and go would use it up. Here only restarts that bring the run no further count.
    """

    def __init__(self) -> None:
        self.stop = False
        self.reached = -1  # the furthest step of any worker group; -1: none has said
        self.reached_before = -1  # the same, when the newest worker group began
        self.begun = 0  # worker groups
        self.idle = 0  # restarts in a row without progress
        self.failure = ""
        self.standing: Standing | None = None  # of the newest worker group

    def begin(self) -> str:
        """A worker group has started. Returns why it should give up, or ""."""
        self.begun += 1
        is_restart = self.begun > 1
        if is_restart:
            has_progressed = self.reached > self.reached_before
            self.idle = 0 if has_progressed else self.idle + 1
        self.reached_before = self.reached
        if self.idle < GIVE_UP_AFTER:
            return ""
        reason = "; workers died without a word, as for want of memory"
        if self.failure:
            reason = f": {self.failure}"
        return (
            f"the run made no progress over {self.idle} restarts at step "
            f"{max(self.reached, 0)}{reason}. Remove the cause, then go on with --resume."
        )

    def reach(self, step: int, standing: Standing | None = None) -> bool:
        """The run has come to a step. Returns whether it should stop."""
        self.standing = standing or self.standing
        # A restarted group begins at its checkpoint, which lies behind what was reached before.
        self.reached = max(self.reached, step)
        return self.stop

    def fail(self, reason: str) -> None:
        """A worker ends with an error; the newest one is what a person will read."""
        self.failure = reason

    def read(self) -> Standing | None:
        """How far the run is, for the driver to show; None before a worker has said."""
        return self.standing

    def ask_to_stop(self) -> None:
        self.stop = True
