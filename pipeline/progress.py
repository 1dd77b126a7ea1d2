"""One way to say how far a long job is: done/total, rate, time left; a line every few seconds."""

from __future__ import annotations

import logging
import time

log = logging.getLogger("unreasonable")

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def log_to_stderr() -> None:
    """Show our own log lines on stderr.

    A driver calls this once, and so does every worker that has something to say.
    """
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
    has_prefix = text[-1].isalpha()
    return f"{text[:-1]} {text[-1]}B" if has_prefix else f"{text} B"


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

    `unit` "B" counts bytes. `start` is what was done before this process began (a resumed run): it
    counts as done, not towards the rate. A `total` of 0 is one that nobody knows.
    """

    def __init__(
        self, what: str, total: float, unit: str, every_s: float = 2.0, start: float = 0.0
    ) -> None:
        self.what = what
        self.total = total
        self.unit = unit
        self.every_s = every_s
        self.start = start
        self.done = start
        self.note = ""
        self._logged: tuple[float, str] | None = None  # done and note, as the last line said them
        self.begin()

    def begin(self) -> None:
        """Count time from now on: what came before was start-up."""
        self._began = time.monotonic()
        self._last_line = self._began

    def rate(self) -> float:
        """Units a second since the start."""
        elapsed = time.monotonic() - self._began
        return (self.done - self.start) / max(elapsed, 1e-9)  # a clock may not have moved yet

    def add(self, amount: float, note: str = "", *, earlier: bool = False) -> None:
        """So much more is done; `earlier`: by a process before this one."""
        self.done += amount
        if earlier:
            self.start += amount
        self.note = note or self.note
        now = time.monotonic()
        if now - self._last_line >= self.every_s:
            self._last_line = now
            self._log()

    def finish(self, note: str = "") -> None:
        """Log a last line, unless the line before it says the same."""
        self.note = note or self.note
        if self._logged != (self.done, self.note):
            self._log()

    def _log(self) -> None:
        self._logged = (self.done, self.note)
        rate = self.rate()
        parts = [self._amount(self.done)]
        if self.total:
            percent = 100 * self.done / self.total
            parts = [f"{parts[0]} of {self._amount(self.total)} ({percent:.0f}%)"]
        parts.append(f"{self._amount(rate)}/s")
        if self.total and self.done < self.total:
            left = duration((self.total - self.done) / rate) if rate > 0 else "?"
            parts.append(f"{left} left")
        if self.note:
            parts.append(self.note)
        log.info("%s: %s", self.what, ", ".join(parts))

    def _amount(self, count: float) -> str:
        if self.unit == "B":
            return bytes_of(count)
        # One decimal for a small count that is no whole number, such as 2.5 steps a second.
        is_whole = count == round(count)
        number = f"{count:,.0f}" if count >= 10 or is_whole else f"{count:.1f}"
        return f"{number} {self.unit}"
