"""What has been submitted, started and ended: the one authority, whoever runs a scheduler.

    <root>/schedules/<corpus>/000017.json            an attempt: schedule, instant, stage, try
    <root>/schedules/<corpus>/000017.started.json    by the job itself, before it does anything
    <root>/schedules/<corpus>/000017.ended.json      how it came out
    <root>/schedules/.known/<schedule>.json          since when a schedule is known

Each file is created only where it is not there, and never changed. A corpus's attempts are a
numbered row. Number n + 1 can be created once, by one scheduler, and only when n has ended. So no
two builds of one corpus overlap, and nothing is submitted twice. A job that finds its own start
recorded does nothing. So nothing runs twice either, even if an id was submitted again after its
cluster was lost.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.errors import DamagedError, InputError

FORMAT = 1
FOLDER = "schedules"
KNOWN = ".known"

# How an attempt can have ended. LOST: with the cluster it ran on.
SUCCEEDED = "succeeded"
FAILED = "failed"
LOST = "lost"

# What is said of an attempt that has not ended.
SUBMITTED = "submitted"
RUNNING = "running"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of one stage of one firing."""

    corpus: str
    number: int
    """from 1, without gaps, over all schedules of the corpus"""
    schedule: str
    instant: str
    """when the schedule fired: calendar.stamp"""
    stage: str
    tried: int
    """tries of this stage and firing before this one"""
    command: tuple[str, ...]
    submitted: float
    """seconds since 1970"""
    by: str
    retries: int
    retry_after_s: float
    format: int = FORMAT

    @property
    def job_id(self) -> str:
        """The Ray job's id: the same whoever submits the attempt, so Ray takes it once."""
        firing = f"{self.schedule}-{self.instant}"
        return f"{firing}-{self.stage}-{self.tried}-{self.corpus}-{self.number}"

    @property
    def root(self) -> str:
        """Where the job keeps everything: its command's --root."""
        return self.command[self.command.index("--root") + 1]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "command": list(self.command)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Attempt:
        return cls(**{**value, "command": tuple(value["command"])})


@dataclass(frozen=True, kw_only=True)
class Started:
    """The file of a job that has begun."""

    time: float
    by: str
    host: str

    def to_json(self) -> dict[str, Any]:
        return vars(self).copy()

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Started:
        return cls(time=float(value["time"]), by=value["by"], host=value.get("host", ""))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a job did. Of one that was killed or lost, only `error` is known; the rest is None.

    A field that is None stands in no file.
    """

    error: str = ""
    exit_status: int | None = None
    seconds: float | None = None
    result: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Outcome:
        return cls(
            error=value.get("error", ""),
            exit_status=value.get("exit_status"),
            seconds=value.get("seconds"),
            result=value.get("result"),
        )


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The file of an attempt that has ended: SUCCEEDED, FAILED or LOST, and its outcome."""

    time: float
    by: str
    status: str
    outcome: Outcome

    def to_json(self) -> dict[str, Any]:
        own = {"time": self.time, "by": self.by, "status": self.status}
        return own | self.outcome.to_json()

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Ended:
        return cls(
            time=float(value["time"]),
            by=value["by"],
            status=value["status"],
            outcome=Outcome.from_json(value),
        )


@dataclass(frozen=True)
class Entry:
    """An attempt and what became of it: `started` and `ended` are None until then."""

    attempt: Attempt
    started: Started | None = None
    ended: Ended | None = None

    @property
    def status(self) -> str:
        if self.ended:
            return self.ended.status
        return RUNNING if self.started else SUBMITTED

    def retry_at(self) -> float | None:
        """When to try again, in seconds since 1970; None for a success, and when no try is left.

        The wait doubles with each try.
        """
        no_try_left = self.attempt.tried >= self.attempt.retries
        if self.ended is None or self.ended.status == SUCCEEDED or no_try_left:
            return None
        return self.ended.time + self.attempt.retry_after_s * 2.0**self.attempt.tried


class Ledger:
    """The attempts under a root, a numbered row for each corpus."""

    def __init__(self, root: str) -> None:
        self.url = storage.join(root, FOLDER)
        # No two ledgers sign alike: a writer can tell its own file from another's.
        self.writer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def entries(self, corpus: str) -> list[Entry]:
        """A corpus's attempts, in order."""
        files = storage.names(storage.join(self.url, corpus))
        # 000017.json is an attempt; 000017.started.json, with a second dot, is a note about it.
        attempts = [file for file in files if file.endswith(".json") and file.count(".") == 1]
        numbers = [_number(file, self.url) for file in sorted(attempts)]
        return [self._entry(corpus, number, files) for number in numbers]

    def entry(self, corpus: str, number: int) -> Entry:
        files = storage.names(storage.join(self.url, corpus))
        if _file(number, "") not in files:
            raise InputError(
                f"no attempt {corpus}/{number} under {self.url}; "
                "is --root the scheduler's? See --list."
            )
        return self._entry(corpus, number, files)

    def append(self, attempt: Attempt) -> bool:
        """Record an attempt before it is submitted; False when another has taken its number."""
        return self._create(self._url(attempt.corpus, attempt.number), attempt.to_json())

    def start(self, attempt: Attempt) -> bool:
        """Record that the job has begun; False when it had begun before: then it must not run."""
        # Format 1 has both names for the one who started the job.
        started = Started(time=time.time(), by=self.writer, host=self.writer)
        return self._create(self._url(attempt.corpus, attempt.number, "started"), started.to_json())

    def end(self, attempt: Attempt, status: str, outcome: Outcome) -> bool:
        """Record how an attempt came out; False when it is known already: the first word counts."""
        ended = Ended(time=time.time(), by=self.writer, status=status, outcome=outcome)
        return self._create(self._url(attempt.corpus, attempt.number, "ended"), ended.to_json())

    def known_since(self, schedule: str, now: float) -> float:
        """When a schedule was first seen, in seconds since 1970: `now`, the first time."""
        url = storage.join(self.url, KNOWN, f"{schedule}.json")
        self._create(url, {"by": self.writer, "time": now})
        return float(self._read(url)["time"])

    def _entry(self, corpus: str, number: int, files: list[str]) -> Entry:
        """An attempt, with those of its notes that are among its folder's files."""
        url = self._url(corpus, number)
        value = self._read(url)
        if value.get("format") != FORMAT:
            raise DamagedError(
                f"{url} is not a format {FORMAT} attempt; use the version that wrote it."
            )
        started = self._note(corpus, number, "started", files)
        ended = self._note(corpus, number, "ended", files)
        try:
            return Entry(
                attempt=Attempt.from_json(value),
                started=Started.from_json(started) if started else None,
                ended=Ended.from_json(ended) if ended else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DamagedError(
                f"{url}, or a note beside it, is not what the scheduler writes ({reason}); "
                "move it away."
            ) from None

    def _note(self, corpus: str, number: int, kind: str, files: list[str]) -> dict[str, Any] | None:
        # One listing of the folder answers for all notes. Asking a store for each would cost two
        # requests an attempt.
        if _file(number, kind) not in files:
            return None
        return self._read(self._url(corpus, number, kind))

    def _url(self, corpus: str, number: int, kind: str = "") -> str:
        return storage.join(self.url, corpus, _file(number, kind))

    def _read(self, url: str) -> dict[str, Any]:
        value = storage.read_json(url)
        if not isinstance(value, dict):
            raise DamagedError(f"{url} is not what the scheduler writes; move it away.")
        return value

    def _create(self, url: str, value: dict[str, Any]) -> bool:
        """Create a file; False when there is one.

        `value` holds `by`: where a store answers late, a writer tells its own file by it.
        """
        # Indented and sorted: people read these files too.
        text = json.dumps(value, indent=1, sort_keys=True)
        return storage.create(url, f"{text}\n".encode())


def _number(file: str, url: str) -> int:
    """The number of an attempt's file."""
    number = file.removesuffix(".json")
    if not (number.isascii() and number.isdigit()):
        raise DamagedError(f"{url} holds {file}, which no scheduler wrote; move it away.")
    return int(number)


def _file(number: int, kind: str) -> str:
    """The file of an attempt, with "" for `kind`, or of a note about it: `started`, `ended`."""
    return f"{number:06d}.{kind}.json" if kind else f"{number:06d}.json"
