"""What the ledger keeps of an attempt: what was submitted, when it began, how it came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FORMAT = 1

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
    told: bool = False
    """whether the schedule's on_failure has been told of it"""

    @property
    def has_failed(self) -> bool:
        return self.ended is not None and self.ended.status != SUCCEEDED

    @property
    def status(self) -> str:
        if self.ended:
            return self.ended.status
        return RUNNING if self.started else SUBMITTED

    def to_json(self) -> dict[str, Any]:
        return {
            "attempt": self.attempt.to_json(),
            "started": self.started.to_json() if self.started else None,
            "ended": self.ended.to_json() if self.ended else None,
            "told": self.told,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Entry:
        started, ended = value["started"], value["ended"]
        return cls(
            attempt=Attempt.from_json(value["attempt"]),
            started=Started.from_json(started) if started else None,
            ended=Ended.from_json(ended) if ended else None,
            told=bool(value["told"]),
        )

    def retry_at(self) -> float | None:
        """When to try again, in seconds since 1970; None for a success, and when no try is left.

        The wait doubles with each try.
        """
        no_try_left = self.attempt.tried >= self.attempt.retries
        if self.ended is None or not self.has_failed or no_try_left:
            return None
        return self.ended.time + self.attempt.retry_after_s * 2.0**self.attempt.tried
