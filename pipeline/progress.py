"""One way to say how far a long job is: done/total, rate, time left; a line every few seconds on the log."""

from __future__ import annotations

import logging
import time

log = logging.getLogger("unreasonable")

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def log_to_stderr() -> None:
    """Show our own log lines on stderr: a driver calls this once, and so does every worker that has something to say."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)


def human(count: float) -> str:
    """A count with an SI prefix: 1536 -> '1.5k', 999 -> '999'."""
    for size, prefix in _PREFIXES:
        if abs(count) >= size:
            return f"{count / size:.1f}{prefix}"
    return f"{count:.0f}"


def bytes_of(count: float) -> str:
    """A number of bytes: 1500000 -> '1.5 MB'."""
    text = human(count)
    return f"{text[:-1]} {text[-1]}B" if text[-1].isalpha() else f"{text} B"


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

    `unit` "B" counts bytes. `start` is what was done before this process began (a resumed run): it counts as done, not
    towards the rate. A `total` of 0 is one that nobody knows.
    """

    def __init__(self, what: str, total: float, unit: str, every_s: float = 2.0, start: float = 0.0) -> None:
        self.what, self.total, self.unit, self.every_s = what, total, unit, every_s
        self.start = self.done = start
        self.note, self.said = "", (-1.0, "")
        self.began = self.last = time.monotonic()

    def rate(self) -> float:
        """Units a second since the start."""
        return (self.done - self.start) / max(time.monotonic() - self.began, 1e-9)

    def begin(self) -> None:
        """Count time from now on: what came before was start-up."""
        self.began = self.last = time.monotonic()

    def add(self, amount: float, note: str = "", *, earlier: bool = False) -> None:
        """So much more is done; `earlier`: by a process before this one."""
        self.done += amount
        self.start += amount if earlier else 0
        self.note = note or self.note
        if time.monotonic() - self.last >= self.every_s:
            self.last = time.monotonic()
            self._say()

    def finish(self, note: str = "") -> None:
        self.note = note or self.note
        if self.said != (self.done, self.note):
            self._say()

    def _say(self) -> None:
        self.said = (self.done, self.note)
        rate = self.rate()
        parts = [self._amount(self.done)]
        if self.total:
            parts = [f"{self._amount(self.done)} of {self._amount(self.total)} ({100 * self.done / self.total:.0f}%)"]
        parts.append(f"{self._amount(rate)}/s")
        if self.total and self.done < self.total:
            parts.append(f"{duration((self.total - self.done) / rate) if rate > 0 else '?'} left")
        log.info("%s: %s", self.what, ", ".join([*parts, *([self.note] if self.note else [])]))

    def _amount(self, count: float) -> str:
        if self.unit == "B":
            return bytes_of(count)
        return f"{count:,.0f} {self.unit}" if count >= 10 or count == round(count) else f"{count:.1f} {self.unit}"
