"""Token shards: Arrow IPC files that are mapped, not loaded.

A shard is one uncompressed Arrow IPC file with exactly one record batch of one non-null column, `token`, in the narrowest
unsigned type that holds the vocabulary. Where the vocabulary has an unknown token, a second file beside the shard says
which symbols it stands for. See docs/formats.md.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa

from pipeline.errors import DamagedError


def shard_bytes(tokens: np.ndarray) -> bytes:
    """The bytes of a shard file that holds `tokens` (one-dimensional, unsigned)."""
    schema = pa.schema([pa.field("token", pa.from_numpy_dtype(tokens.dtype), nullable=False)])
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array(tokens)], schema=schema))
    return sink.getvalue()


def open_shard(path: str) -> np.ndarray:
    """Map a local shard file and return its tokens, read-only, without reading them. Refuses anything else by name."""
    try:
        with pa.memory_map(path) as mapped:
            return _tokens(pa.ipc.open_file(mapped))
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedError(f"shard {path} cannot be read: {error}; restore it, or build the corpus again.") from None


def unknown_file(shard_file: str) -> str:
    """The name of the file beside a shard that says what its unknown tokens stand for."""
    return shard_file.replace(".arrow", ".unknown.arrow")


def unknown_bytes(positions: np.ndarray, symbols: np.ndarray) -> bytes:
    """The bytes of such a file: ascending positions within the shard, and the symbols there (both uint32)."""
    columns = {"position": positions, "symbol": symbols}
    schema = pa.schema([pa.field(name, pa.uint32(), nullable=False) for name in columns])
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array(column) for column in columns.values()], schema=schema))
    return sink.getvalue()


def open_unknown(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions and symbols of an unknown file."""
    try:
        with pa.memory_map(path) as mapped:
            table = pa.ipc.open_file(mapped).read_all()
            return table["position"].to_numpy(), table["symbol"].to_numpy()
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise DamagedError(f"{path} cannot be read: {error}; restore it, or build the corpus again.") from None


def _tokens(reader: pa.ipc.RecordBatchFileReader) -> np.ndarray:
    if reader.num_record_batches != 1 or reader.schema.names != ["token"]:
        raise pa.ArrowInvalid(f"expected one batch of one column 'token', found {reader.schema.names}")
    return reader.get_batch(0).column(0).to_numpy(zero_copy_only=True)


class Tokens:
    """The tokens of a split as one long read-only sequence over mapped shards."""

    def __init__(self, shards: Iterable[np.ndarray]) -> None:
        self._shards: Sequence[np.ndarray] = list(shards)
        self._ends = list(accumulate(len(shard) for shard in self._shards))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens [start, stop); a view of the shard when they lie in one."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"tokens [{start}, {stop}) of {len(self)}")
        index = bisect_right(self._ends, start)
        parts = []
        while start < stop:
            base = self._ends[index] - len(self._shards[index])
            parts.append(self._shards[index][start - base : min(stop, self._ends[index]) - base])
            start, index = self._ends[index], index + 1
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)
