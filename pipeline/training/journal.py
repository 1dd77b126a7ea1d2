"""metrics.jsonl: one row per step, the truth about a run. It is carried in checkpoints, so a resumed run has each row once."""

from __future__ import annotations

import json
from typing import Any


class Journal:
    """Rows in step order, kept by rank 0 as the bytes that will be published."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)

    def append(self, row: dict[str, Any]) -> None:
        self._data += (json.dumps(row, sort_keys=True) + "\n").encode()

    def state_dict(self) -> bytes:
        return bytes(self._data)


def rows(data: bytes) -> list[dict[str, Any]]:
    """The complete rows of a journal's bytes."""
    return [json.loads(line) for line in data.splitlines(keepends=True) if line.endswith(b"\n")]
