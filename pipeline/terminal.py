"""What a person at a terminal sees: a live line for each stage under way, log lines above them.

rich draws the lines, and keeps what else is printed on stderr above them. It is imported on a
terminal alone: its import takes 0.1 s.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from typing import Any, TextIO

REFRESHES_A_SECOND = 4

_lock = threading.Lock()
_screen: Any = None  # rich's, shared by all live lines: a terminal has room for one


class StderrHandler(logging.StreamHandler[TextIO]):
    """Logs to what sys.stderr is at the time: while a live line is shown, it is rich's."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def is_live() -> bool:
    """Whether stderr is a terminal on which a line can be changed."""
    if _screen is not None:
        return True  # sys.stderr is rich's meanwhile
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class LiveLine:
    """One line that stays where it is and changes: a bar, what, how far."""

    def __init__(self, what: str) -> None:
        global _screen  # noqa: PLW0603
        with _lock:
            if _screen is None:
                _screen = _new_screen()
                _screen.start()
            self.task = _screen.add_task(what, total=None, text="")

    def show(self, text: str, done: float, total: float) -> None:
        """Change the line. A `total` of 0 is one that nobody knows."""
        with _lock:
            if _screen is not None:
                _screen.update(self.task, completed=done, total=total or None, text=text)

    def close(self) -> None:
        """Remove the line, and with the last one all of rich."""
        with _lock:
            if _screen is None:
                return
            _screen.remove_task(self.task)
            is_last = not _screen.tasks
        if is_last:
            close_all()


def close_all() -> None:
    """Give the terminal back as it was: without this a job that fails leaves no cursor."""
    global _screen  # noqa: PLW0603
    with _lock:
        screen = _screen
        _screen = None
    if screen is not None:
        screen.stop()


def _new_screen() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    atexit.register(close_all)
    one_line = Column(no_wrap=True, overflow="ellipsis")
    return Progress(
        BarColumn(bar_width=20),
        # In one column: of two, rich would cut the name as well where the terminal is narrow.
        TextColumn("{task.description}: {task.fields[text]}", markup=False, table_column=one_line),
        console=Console(stderr=True),
        transient=True,
        # A job's result goes to stdout, which may be a file.
        redirect_stdout=False,
        refresh_per_second=REFRESHES_A_SECOND,
    )
