"""One way to say how far a long job is: done/total, rate, time left; a line every few seconds on the log."""

from __future__ import annotations

import logging
import time

log = logging.getLogger("unreasonable")

_UNITS = ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k"))


def log_to_stderr() -> None:
    """Show our own log lines on stderr: a driver calls this once, and so does every worker that has something to say."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)


def human(count: float) -> str:
    """A count with a binary prefix: 1536 -> '1.5k'."""
    for size, prefix in _UNITS:
        if abs(count) >= size:
            return f"{count / size:.1f}{prefix}"
    return f"{count:.0f}"


def duration(seconds: float) -> str:
    """Seconds as 42s, 3m05s or 2h07m."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class Progress:
    """Counts work done and logs a line at most every `every_s` seconds, and one at the end.

    `start` is what was done before this process began (a resumed run): it counts as done, not towards the rate.
    """

    def __init__(self, what: str, total: float, unit: str, every_s: float = 2.0, start: float = 0.0) -> None:
        self.what, self.total, self.unit, self.every_s = what, total, unit, every_s
        self.start = self.done = start
        self.began = self.last = time.monotonic()

    def rate(self) -> float:
        """Units a second since the start."""
        return (self.done - self.start) / max(time.monotonic() - self.began, 1e-9)

    def add(self, amount: float, note: str = "") -> None:
        self.done += amount
        if self.done < self.total and time.monotonic() - self.last >= self.every_s:
            self.last = time.monotonic()
            self._say(note)

    def finish(self, note: str = "") -> None:
        self._say(note)

    def _say(self, note: str) -> None:
        rate = self.rate()
        left = duration((self.total - self.done) / rate) if rate > 0 else "?"
        share = f"{100 * self.done / self.total:.0f}%" if self.total else "100%"
        tail = f", {note}" if note else ""
        log.info(
            "%s: %s/%s %s (%s), %s %s/s, %s left%s",
            self.what, human(self.done), human(self.total), self.unit, share, human(rate), self.unit, left, tail,
        )  # fmt: skip
