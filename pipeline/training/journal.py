"""metrics.jsonl: one row per step, the truth about a run.

A checkpoint holds the length and digest of the journal at its step. A resumed run cuts the journal
there and goes on, so that each step has one row however often the run was stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import DamagedError


@dataclass(frozen=True)
class JournalState:
    """What identifies a journal up to a step: how many bytes it has, and their SHA-256."""

    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> JournalState:
        return cls(**value)


class Journal:
    """Rows in step order, kept by rank 0 as the bytes that will be published."""

    def __init__(self, data: bytes = b"") -> None:
        # Bytes, not rows: digests are of what is written, whatever another json would make of it.
        self._data = bytearray(data)

    def append(self, row: dict[str, Any]) -> None:
        """Add a row. A number that is not finite becomes null: JSON has no such numbers."""
        written = {key: _finite(value) for key, value in row.items()}
        line = json.dumps(written, sort_keys=True, allow_nan=False) + "\n"
        self._data += line.encode()

    @property
    def data(self) -> bytes:
        """All rows, as metrics.jsonl holds them."""
        return bytes(self._data)

    @property
    def state(self) -> JournalState:
        """What identifies the journal so far."""
        return JournalState(len(self._data), hashlib.sha256(self._data).hexdigest())

    @classmethod
    def at(cls, state: JournalState, data: bytes, url: str) -> Journal:
        """The journal that had `state`, cut from what a run's metrics.jsonl holds now.

        Rows behind it belong to steps that will be made again. Raises DamagedError, naming `url`,
        for other bytes.
        """
        journal = cls(data[: state.bytes])
        if journal.state != state:
            raise DamagedError(
                f"{url} does not begin with the rows of the run's newest checkpoint; restore it."
            )
        return journal


def rows(data: bytes) -> list[dict[str, Any]]:
    """The complete rows of a journal's bytes: a last line without its end is left out."""
    lines = data.splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def _finite(value: Any) -> Any:
    is_none = isinstance(value, float) and not math.isfinite(value)
    return None if is_none else value
