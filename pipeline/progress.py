"""One way to say how far a long job is: done/total, rate, time left.

A rate is what this process has done over the time that the work took: wall-clock seconds since it
began, with everything that belongs to it, such as the evaluations and checkpoints of a training.
Start-up before it and what an earlier process did are left out. The screen, the JSON result and
MLflow all show this figure.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from pipeline import terminal

log = logging.getLogger("unreasonable")

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_LIVE_EVERY_S = 0.3  # between two changes of a live line: a faster one cannot be read


def log_to_stderr() -> None:
    """Show our own log lines on stderr.

    A driver calls this once, and so does every worker that has something to say.
    """
    handlers: list[logging.Handler] = [terminal.StderrHandler()]
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=handlers)
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


class Rate:
    """Work done a second, as the module's docstring defines it."""

    def __init__(self) -> None:
        self.done = 0.0
        self.begin()

    def begin(self, ago_s: float = 0.0) -> None:
        """The work has begun, now or some seconds ago: what came before was start-up."""
        self._began = time.monotonic() - ago_s
        self._ended: float | None = None

    def end(self) -> None:
        """The work is over: from now on the rate stands."""
        self._ended = time.monotonic()

    def per_second(self) -> float:
        """0 where nothing was done, and before the clock has moved: nobody can know a rate then."""
        until = time.monotonic() if self._ended is None else self._ended
        elapsed = until - self._began
        return self.done / elapsed if elapsed > 0 else 0.0


@dataclass(frozen=True)
class Standing:
    """How far a stage is, for whoever shows it: in figures, and in words."""

    done: float
    total: float  # 0: nobody knows
    text: str
    note: str = ""

    def says_the_same(self, other: Standing | None) -> bool:
        """Whether two differ in nothing but the rate and the time left."""
        return other is not None and (self.done, self.note) == (other.done, other.note)


class Display:
    """Where a stage's standing is shown.

    On a terminal it is one live line, and a log line at the end. Elsewhere it is a log line at most
    every `every_s` seconds, and one at the end.
    """

    def __init__(self, what: str, every_s: float = 2.0) -> None:
        self.what = what
        self.every_s = every_s
        self._logged: Standing | None = None  # by the last line
        self._live: terminal.LiveLine | None = None
        self.begin()

    def begin(self) -> None:
        """The next line is due a whole interval from now."""
        self._last_line = time.monotonic()
        self._last_live = 0.0

    @property
    def due(self) -> bool:
        """Whether a standing would be shown now."""
        if terminal.is_live():
            return time.monotonic() - self._last_live >= _LIVE_EVERY_S
        return time.monotonic() - self._last_line >= self.every_s

    def show(self, standing: Standing) -> None:
        """Show a standing, if something is due."""
        if not self.due:
            return
        if terminal.is_live():
            self._last_live = time.monotonic()
            self._live = self._live or terminal.LiveLine(self.what)
            self._live.show(standing.text, standing.done, standing.total)
            return
        self._last_line = time.monotonic()
        self._log(standing)

    def end(self, standing: Standing) -> None:
        """Log a last line, unless the line before it says the same."""
        if self._live:
            self._live.close()
            self._live = None
        if not standing.says_the_same(self._logged):
            self._log(standing)

    def _log(self, standing: Standing) -> None:
        self._logged = standing
        log.info("%s: %s", self.what, standing.text)


class Progress:
    """Counts work done and shows it (see Display).

    `unit` "B" counts bytes. `start` is what was done before this process began (a resumed run): it
    counts as done, not towards the rate. A `total` of 0 is one that nobody knows. What is not
    `is_shown` here, another process shows, by its `standing`.
    """

    def __init__(
        self,
        what: str,
        total: float,
        unit: str,
        every_s: float = 2.0,
        start: float = 0.0,
        *,
        is_shown: bool = True,
    ) -> None:
        self.what = what
        self.total = total
        self.unit = unit
        self.start = start
        self.note = ""
        self._rate = Rate()
        self._display = Display(what, every_s)
        self.is_shown = is_shown

    @property
    def done(self) -> float:
        return self.start + self._rate.done

    def begin(self, ago_s: float = 0.0) -> None:
        """Count time from now, or from some seconds ago: what came before was start-up."""
        self._rate.begin(ago_s)
        self._display.begin()

    def rate(self) -> float:
        """Units a second, up to now or to the end."""
        return self._rate.per_second()

    def add(self, amount: float, note: str = "", *, earlier: bool = False) -> None:
        """So much more is done; `earlier`: by a process before this one."""
        if earlier:
            self.start += amount
        else:
            self._rate.done += amount
        self.note = note or self.note
        if self.is_shown and self._display.due:
            self._display.show(self.standing())

    def finish(self, note: str = "") -> None:
        """Show a last line. From now on the rate stands."""
        self.note = note or self.note
        self._rate.end()
        if self.is_shown:
            self._display.end(self.standing())

    def standing(self) -> Standing:
        """How far it is."""
        rate = self.rate()
        parts = [self._amount(self.done)]
        if self.total:
            percent = 100 * self.done / self.total
            parts = [f"{parts[0]} of {self._amount(self.total)} ({percent:.0f}%)"]
        if rate:
            parts.append(f"{self._amount(rate)}/s")
        if self.total and self.done < self.total:
            left = duration((self.total - self.done) / rate) if rate else "?"
            parts.append(f"{left} left")
        if self.note:
            parts.append(self.note)
        return Standing(self.done, self.total, ", ".join(parts), self.note)

    def _amount(self, count: float) -> str:
        if self.unit == "B":
            return bytes_of(count)
        # One decimal for a small count that is no whole number, such as 2.5 steps a second.
        is_whole = count == round(count)
        number = f"{count:,.0f}" if count >= 10 or is_whole else f"{count:.1f}"
        return f"{number} {self.unit}"
