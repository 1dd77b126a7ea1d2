"""Live lines on a pretended terminal: rich draws them, and log lines stand above."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterator

import pytest

from pipeline import terminal
from pipeline.terminal import LiveLine, StderrHandler, close_all, is_live


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


Make = Callable[[], Terminal]


@pytest.fixture
def terminal_like(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Called in the test itself: pytest puts a stderr of its own in place before it."""

    def make() -> Terminal:
        one = Terminal()
        monkeypatch.setattr(sys, "stderr", one)
        return one

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    yield make
    close_all()


def test_what_is_a_terminal(terminal_like: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal_like()
    assert is_live()
    monkeypatch.setenv("TERM", "dumb")
    assert not is_live()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not is_live()


def test_lines_live_until_they_are_closed(terminal_like: Make) -> None:
    screen = terminal_like()
    first = LiveLine("read c")
    second = LiveLine("read [b].tar")  # no markup of rich's
    assert is_live()
    first.show("5 of 10", 5, 10)
    second.show("nobody knows how many", 5, 0)
    terminal._screen.refresh()
    shown = screen.getvalue()
    for words in ("read c", "5 of 10", "read [b].tar", "nobody knows how many"):
        assert words in shown
    first.close()
    assert terminal._screen is not None
    second.close()
    assert terminal._screen is None
    assert sys.stderr is screen
    assert "\x1b[?25h" in screen.getvalue()  # the cursor is back
    # Whoever is late does no harm.
    first.show("6 of 10", 6, 10)
    first.close()
    close_all()


def test_log_lines_stand_above_a_live_line(terminal_like: Make) -> None:
    screen = terminal_like()
    logger = logging.Logger("one")
    logger.addHandler(StderrHandler())
    line = LiveLine("read c")
    line.show("5 of 10", 5, 10)
    logger.warning("a document was left out")
    assert "a document was left out" in screen.getvalue()
    close_all()
    logger.warning("behind it")
    assert screen.getvalue().endswith("behind it\n")


def test_a_long_line_stays_one_line(terminal_like: Make) -> None:
    screen = terminal_like()
    line = LiveLine("train r")
    line.show("x" * 300, 1, 2)
    terminal._screen.refresh()
    assert "train r: xxx" in screen.getvalue()
    longest = max(len(part) for part in screen.getvalue().replace("\r", "\n").split("\n"))
    assert longest < 300
    line.close()
