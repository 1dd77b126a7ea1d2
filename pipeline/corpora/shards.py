"""Token shards: Arrow IPC files that are mapped, not loaded.

A shard is one uncompressed Arrow IPC file with exactly one record batch of one non-null column,
`token`, in the narrowest unsigned type that holds the vocabulary. Where the vocabulary has an
unknown token, a second file beside the shard says which symbols it stands for. See docs/formats.md.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Protocol

import numpy as np
import pyarrow as pa

from pipeline.errors import DamagedError


class TokenSource(Protocol):
    """A long sequence of tokens, such as `Tokens`."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens [start, stop)."""


class Tokens:
    """The tokens of a split as one long read-only sequence over mapped shards."""

    def __init__(self, shards: Iterable[np.ndarray]) -> None:
        self._shards = list(shards)
        self._ends = list(accumulate(len(shard) for shard in self._shards))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens [start, stop); a view of the shard when they lie in one. IndexError outside."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"tokens [{start}, {stop}) of {len(self)}")
        parts = []
        index = bisect_right(self._ends, start)
        while start < stop:
            shard = self._shards[index]
            end = self._ends[index]
            base = end - len(shard)
            parts.append(shard[start - base : min(stop, end) - base])
            start = end
            index += 1
        if len(parts) == 1:
            return parts[0]
        # No token at all has no type of its own; uint8 joins with any other.
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)


def shard_bytes(tokens: np.ndarray) -> bytes:
    """The bytes of a shard file that holds `tokens` (one-dimensional, unsigned)."""
    return _file_bytes({"token": tokens})


def open_shard(path: str) -> np.ndarray:
    """Map a local shard file and return its tokens, read-only, without reading them.

    Refuses anything else by name.
    """
    try:
        # The array keeps the mapping alive when the file is closed.
        with pa.memory_map(path) as mapped:
            return _only_column(pa.ipc.open_file(mapped))
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedError(
            f"shard {path} cannot be read: {error}; restore it, or build the corpus again."
        ) from None


def unknown_file(shard_file: str) -> str:
    """The name of the file beside a shard that says what its unknown tokens stand for."""
    return shard_file.replace(".arrow", ".unknown.arrow")


def unknown_bytes(positions: np.ndarray, symbols: np.ndarray) -> bytes:
    """The bytes of such a file: ascending positions within the shard, and the symbols there.

    Both are uint32.
    """
    return _file_bytes({"position": positions, "symbol": symbols})


def open_unknown(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions and symbols of an unknown file."""
    try:
        with pa.memory_map(path) as mapped:
            table = pa.ipc.open_file(mapped).read_all()
            return table["position"].to_numpy(), table["symbol"].to_numpy()
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise DamagedError(
            f"{path} cannot be read: {error}; restore it, or build the corpus again."
        ) from None


def _file_bytes(columns: dict[str, np.ndarray]) -> bytes:
    """An Arrow IPC file of one record batch of non-null columns."""
    arrays = [pa.array(column) for column in columns.values()]
    # Not nullable: no bitmap beside the values, which are then the column's one buffer.
    fields = [
        pa.field(name, array.type, nullable=False)
        for name, array in zip(columns, arrays, strict=True)
    ]
    schema = pa.schema(fields)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    return sink.getvalue()


def _only_column(reader: pa.ipc.RecordBatchFileReader) -> np.ndarray:
    """The `token` column of a shard's one batch, as an array over the mapped file."""
    # Two batches would be two buffers: they could not be mapped as one array.
    if reader.num_record_batches != 1 or reader.schema.names != ["token"]:
        raise pa.ArrowInvalid(
            f"expected one batch of one column 'token', found {reader.schema.names}"
        )
    return reader.get_batch(0).column(0).to_numpy(zero_copy_only=True)
