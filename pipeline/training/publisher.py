"""Shows a run in MLflow while it trains, from a thread beside it: training never waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline import runs, storage
from pipeline.registry.tracking import Tracking
from pipeline.training import journal

log = logging.getLogger("unreasonable")

PUBLISH_EVERY_S = 3.0
LONGEST_PAUSE_S = 60.0  # between attempts, while the server is away
START_S = 15.0  # how long a run's first step waits to be recorded
END_S = 30.0  # how long a run's end waits for the last rows
_ROWS_AT_ONCE = 1000  # after which the server knows how far it is


@dataclass(frozen=True)
class Link:
    """A run on a tracking server, by the server's id."""

    tracking: Tracking
    mlflow_id: str


class Publisher(threading.Thread):
    """Records a run, then sends rows of its journal, its sample texts, and how it ended.

    Each row goes once, when a checkpoint has made it final: what a lost worker's steps left behind
    the newest checkpoint will be computed again. `connect` records the run, and is tried again
    while the server is away.
    """

    def __init__(self, connect: Callable[[], Link], run: str) -> None:
        super().__init__(daemon=True, name="journal-publisher")
        self.connect = connect
        self.run_folder = run
        self.link: Link | None = None
        self.published = 0
        self.last_seen: str | None = None
        self.sent: set[str] = set()  # sample texts, by name
        self.status = ""  # how the run ended, in MLflow's words
        self.is_away = False
        self.is_complete = False  # the server has been told everything
        self.tried = threading.Event()
        self.ended = threading.Event()

    def run(self) -> None:
        pause = PUBLISH_EVERY_S
        while not self.ended.is_set():
            has_told = self.publish()
            self.tried.set()
            pause = PUBLISH_EVERY_S if has_told else min(2 * pause, LONGEST_PAUSE_S)
            self.ended.wait(pause)
        self.is_complete = self.publish(is_last=True)

    def begin(self) -> Link | None:
        """Start, and wait until the run is recorded, a while at most: None where it is not yet."""
        self.start()
        self.tried.wait(START_S)
        return self.link

    def stop(self, status: str) -> bool:
        """Send what is left, and how the run ended; whether all of it was told in time."""
        self.status = status
        self.ended.set()
        self.join(END_S)
        if not self.is_complete:
            log.warning("the tracking server does not know yet how the run ended")
        return self.is_complete

    def publish(self, *, is_last: bool = False) -> bool:
        """Tell the server what is new; False when that failed, to be made again later."""
        try:
            self._tell(is_last)
        except Exception as error:  # requests', SQLAlchemy's and MLflow's own
            reason = str(error).split("\n")[0]
            # Once an outage: a server may be away for a day.
            if not self.is_away:
                log.warning(
                    "the tracking server was not told of the run's progress: %s; the run goes on, "
                    "and rows are sent when it answers",
                    reason,
                )
            self.is_away = True
            return False
        if self.is_away:
            log.info("the tracking server answers again, and has all rows")
        self.is_away = False
        return True

    def _tell(self, is_last: bool) -> None:
        if self.link is None:
            link = self.connect()
            self.published = link.tracking.published_step(link.mlflow_id)
            self.link = link
        newest = runs.newest(self.run_folder)
        if newest is not None and newest != self.last_seen:
            self._send_rows(self.link, runs.step_of(newest))
            self.last_seen = newest
            # Beside checkpoints alone: to list a folder of a store every few seconds costs money.
            self._send_samples(self.link)
        if is_last:
            self._send_samples(self.link)
            if self.status:
                self.link.tracking.end_run(self.link.mlflow_id, self.status)

    def _send_rows(self, link: Link, final: int) -> None:
        data = storage.read_bytes(storage.join(self.run_folder, runs.METRICS))
        # The journal is written before its checkpoint, so it may hold rows behind the newest.
        rows = [row for row in journal.rows(data) if self.published < row["step"] <= final]
        for at in range(0, len(rows), _ROWS_AT_ONCE):
            some: list[dict[str, Any]] = rows[at : at + _ROWS_AT_ONCE]
            link.tracking.log_rows(link.mlflow_id, some)
            # Only once they were sent: a failed attempt is made again.
            self.published = some[-1]["step"]

    def _send_samples(self, link: Link) -> None:
        folder = storage.join(self.run_folder, runs.SAMPLES)
        new = [name for name in storage.names(folder) if name not in self.sent]
        if not new:
            return
        texts = {name: storage.read_bytes(storage.join(folder, name)) for name in new}
        link.tracking.log_texts(link.mlflow_id, texts)
        self.sent.update(new)
