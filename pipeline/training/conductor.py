"""What the driver and the workers of a run tell each other: please stop, this far we came, this is
why we failed.
"""

from __future__ import annotations

GIVE_UP_AFTER = 3  # restarts in a row that come no further than the ones before


class Conductor:
    """Lives beside the driver for one session of a run; rank 0 of every worker group talks to it."""

    def __init__(self) -> None:
        self.stop = False
        self.reached = self.reached_before = -1
        self.begun = self.idle = 0
        self.failure = ""

    def begin(self) -> str:
        """A worker group has started. Returns why it should give up, or ""."""
        self.begun += 1
        if self.begun > 1:
            self.idle = 0 if self.reached > self.reached_before else self.idle + 1
        self.reached_before = self.reached
        if self.idle < GIVE_UP_AFTER:
            return ""
        why = (
            f": {self.failure}"
            if self.failure
            else "; workers died without a word, as for want of memory"
        )
        return (
            f"the run made no progress over {self.idle} restarts at step {max(self.reached, 0)}{why}. "
            "Remove the cause, then go on with --resume."
        )

    def reach(self, step: int) -> bool:
        """The run has come to a step. Returns whether it should stop."""
        self.reached = max(self.reached, step)
        return self.stop

    def fail(self, reason: str) -> None:
        """A worker ends with an error; the newest one is what a person will be told."""
        self.failure = reason

    def ask_to_stop(self) -> None:
        self.stop = True
