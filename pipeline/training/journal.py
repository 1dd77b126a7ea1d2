"""metrics.jsonl: one row per step, the truth about a run.

A checkpoint holds the length and digest of the journal at its step. A resumed run cuts the journal
there and goes on, so that each step has one row however often the run was stopped.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pipeline.errors import DamagedError


class Journal:
    """Rows in step order, kept by rank 0 as the bytes that will be published."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)

    def append(self, row: dict[str, Any]) -> None:
        self._data += (json.dumps(row, sort_keys=True) + "\n").encode()

    @property
    def data(self) -> bytes:
        return bytes(self._data)

    def state_dict(self) -> dict[str, Any]:
        """What identifies the journal so far: its length and SHA-256."""
        return {"bytes": len(self._data), "sha256": hashlib.sha256(self._data).hexdigest()}

    @classmethod
    def at(cls, state: dict[str, Any], data: bytes, url: str) -> Journal:
        """The journal that `state_dict` described, cut from what a run's metrics.jsonl holds now."""
        journal = cls(data[: state["bytes"]])
        if journal.state_dict() != state:
            raise DamagedError(
                f"{url} does not begin with the rows of the run's newest checkpoint; restore it."
            )
        return journal


def rows(data: bytes) -> list[dict[str, Any]]:
    """The complete rows of a journal's bytes."""
    return [json.loads(line) for line in data.splitlines(keepends=True) if line.endswith(b"\n")]
