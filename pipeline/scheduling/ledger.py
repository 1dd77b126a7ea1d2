"""What has been submitted, started and ended: the one authority, under the root, whoever runs the scheduler.

    <root>/schedules/<corpus>/000017.json            an attempt: schedule, instant, stage, try; created if it is not there
    <root>/schedules/<corpus>/000017.started.json    the job itself, before it does anything; likewise
    <root>/schedules/<corpus>/000017.ended.json      how it came out; likewise
    <root>/schedules/.known/<schedule>.json          since when a schedule is known: nothing earlier is caught up

A corpus's attempts are a numbered row. Number n + 1 can be created once, by one scheduler, and only when n has ended: so no
two builds of one corpus overlap, and nothing is submitted twice. A job that finds its own start recorded does nothing: so
nothing runs twice either, even if an id was submitted again after a lost head.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import storage
from pipeline.errors import DamagedError

FORMAT = 1
FOLDER, KNOWN = "schedules", ".known"
SUCCEEDED, FAILED, LOST = "succeeded", "failed", "lost"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of one stage of one firing."""

    corpus: str
    number: int
    schedule: str
    instant: str
    stage: str
    tried: int
    command: tuple[str, ...]
    submitted: float
    by: str
    retries: int
    retry_after_s: float
    format: int = FORMAT

    @property
    def job_id(self) -> str:
        """The Ray job's id: the same whoever submits it."""
        return f"{self.schedule}-{self.instant}-{self.stage}-{self.tried}-{self.corpus}-{self.number}"


@dataclass(frozen=True)
class Entry:
    """An attempt and what became of it: `started` and `ended` are None until then."""

    attempt: Attempt
    started: dict[str, Any] | None
    ended: dict[str, Any] | None

    @property
    def status(self) -> str:
        return str(self.ended["status"]) if self.ended else "running" if self.started else "submitted"

    def retry_at(self) -> float | None:
        """When to try again, in seconds since 1970; None for a success, and when there is no try left."""
        if not self.ended or self.ended["status"] == SUCCEEDED or self.attempt.tried >= self.attempt.retries:
            return None
        return float(self.ended["time"]) + self.attempt.retry_after_s * 2.0**self.attempt.tried


class Ledger:
    """The rows under a root."""

    def __init__(self, root: str) -> None:
        self.url, self.writer = storage.join(root, FOLDER), f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def entries(self, corpus: str) -> list[Entry]:
        """A corpus's attempts, in order."""
        there = storage.names(storage.join(self.url, corpus))
        numbers = sorted(name.removesuffix(".json") for name in there if name.count(".") == 1 and name.endswith(".json"))
        return [self.entry(corpus, int(number), there) for number in numbers]

    def entry(self, corpus: str, number: int, there: list[str] | None = None) -> Entry:
        there = storage.names(storage.join(self.url, corpus)) if there is None else there
        value = self._read(self._url(corpus, number))
        if value.get("format") != FORMAT:
            raise DamagedError(f"{self._url(corpus, number)} is not a format {FORMAT} attempt; use the version that wrote it.")
        notes = []
        for kind in ("started", "ended"):
            url = self._url(corpus, number, kind)
            notes.append(self._read(url) if url.rsplit("/", 1)[1] in there else None)
        return Entry(Attempt(**{**value, "command": tuple(value["command"])}), *notes)

    def append(self, attempt: Attempt) -> bool:
        """Record an attempt before it is submitted; False when another scheduler has taken its number."""
        return self._create(self._url(attempt.corpus, attempt.number), asdict(attempt))

    def start(self, attempt: Attempt, about: dict[str, Any]) -> bool:
        """Record that the job has begun; False when it has begun before: then it must not run."""
        return self._create(self._url(attempt.corpus, attempt.number, "started"), {"time": time.time(), **about})

    def end(self, attempt: Attempt, status: str, about: dict[str, Any]) -> bool:
        """Record how an attempt came out; False when that is known already: the first word counts."""
        value = {"time": time.time(), "status": status, **about}
        return self._create(self._url(attempt.corpus, attempt.number, "ended"), value)

    def known_since(self, schedule: str, now: float) -> float:
        """When a schedule was first seen, which is now at first."""
        url = storage.join(self.url, KNOWN, f"{schedule}.json")
        self._create(url, {"time": now})
        return float(self._read(url)["time"])

    def _url(self, corpus: str, number: int, kind: str = "") -> str:
        return storage.join(self.url, corpus, f"{number:06d}{'.' * bool(kind)}{kind}.json")

    def _read(self, url: str) -> dict[str, Any]:
        value = storage.read_json(url)
        if not isinstance(value, dict):
            raise DamagedError(f"{url} is not what the scheduler writes; move it away.")
        return value

    def _create(self, url: str, value: dict[str, Any]) -> bool:
        value = {"by": self.writer, **value}  # so that a writer knows its own
        return storage.create(url, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())
