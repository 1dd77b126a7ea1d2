"""Shard files hold what was written, as plain Arrow, and are one sequence to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora.shards import (
    Tokens,
    TokenSource,
    open_shard,
    open_unknown,
    shard_bytes,
    unknown_bytes,
    unknown_file,
)
from pipeline.errors import DamagedError


@given(st.lists(st.integers(0, 7), max_size=6), st.data())
def test_a_span_is_read_across_shards(lengths: list[int], data: st.DataObject) -> None:
    whole = np.arange(sum(lengths), dtype=np.uint16)
    cuts = np.cumsum(lengths)[:-1]
    tokens: TokenSource = Tokens(np.split(whole, cuts) if lengths else [])
    assert len(tokens) == len(whole)
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    np.testing.assert_array_equal(tokens.read(start, stop), whole[start:stop])


def test_a_span_within_a_shard_is_not_copied() -> None:
    shards = [np.arange(4, dtype=np.uint8), np.arange(4, 8, dtype=np.uint8)]
    tokens = Tokens(iter(shards))
    assert np.shares_memory(tokens.read(1, 4), shards[0])
    assert np.shares_memory(tokens.read(4, 5), shards[1])
    assert not np.shares_memory(tokens.read(3, 5), shards[0])
    assert tokens.read(3, 3).tolist() == []
    assert tokens.read(8, 8).dtype == np.uint8


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 5), (5, 5)])
def test_a_span_outside_is_refused(start: int, stop: int) -> None:
    tokens = Tokens([np.zeros(4, np.uint8)])
    with pytest.raises(IndexError, match=rf"^tokens \[{start}, {stop}\) of 4$"):
        tokens.read(start, stop)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_a_shard_is_mapped_and_not_loaded(tmp_path: Path, dtype: type) -> None:
    tokens = np.arange(1000).astype(dtype)
    path = tmp_path / "x.arrow"
    path.write_bytes(shard_bytes(tokens))
    mapped = open_shard(str(path))
    np.testing.assert_array_equal(mapped, tokens)
    assert mapped.dtype == dtype
    assert not mapped.flags.writeable
    before = pa.total_allocated_bytes()
    open_shard(str(path))
    assert pa.total_allocated_bytes() == before
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        assert reader.num_record_batches == 1
        (field,) = reader.schema
        assert (field.name, str(field.type), field.nullable) == ("token", dtype.__name__, False)


def test_an_empty_shard_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    path.write_bytes(shard_bytes(np.empty(0, np.uint16)))
    assert open_shard(str(path)).tolist() == []


def arrow(columns: dict[str, list[int]], batches: int = 1) -> bytes:
    batch = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        for _ in range(batches):
            writer.write_batch(batch)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (arrow({"token": [1]}, batches=2), r"expected one batch of one column 'token', found"),
        (arrow({"token": [1]}, batches=0), r"found \['token'\]"),
        (arrow({"tokens": [1]}), r"found \['tokens'\]"),
        (arrow({"token": [1], "other": [1]}), r"found \['token', 'other'\]"),
        (b"", ""),
        (b"no arrow file at all", ""),
        (arrow({"token": [1] * 99})[:-20], ""),
    ],
)
def test_what_is_no_shard_is_refused_by_name(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "x.arrow"
    path.write_bytes(data)
    message = rf"shard .*x\.arrow cannot be read: .*{reason}.*; restore it, or build the corpus"
    with pytest.raises(DamagedError, match=message):
        open_shard(str(path))
    with pytest.raises(DamagedError, match=r"shard .*nowhere\.arrow cannot be read"):
        open_shard(str(tmp_path / "nowhere.arrow"))


def test_unknown_symbols_are_written_beside_a_shard(tmp_path: Path) -> None:
    assert unknown_file("train-00000.arrow") == "train-00000.unknown.arrow"
    path = tmp_path / "u.arrow"
    path.write_bytes(unknown_bytes(np.array([3, 9], np.uint32), np.array([7, 0x1D11E], np.uint32)))
    positions, symbols = open_unknown(str(path))
    assert (positions.tolist(), symbols.tolist()) == ([3, 9], [7, 0x1D11E])
    assert positions.dtype == symbols.dtype == np.uint32
    with pa.memory_map(str(path)) as file:
        schema = pa.ipc.open_file(file).schema
        assert schema.names == ["position", "symbol"]
        assert not any(field.nullable for field in schema)


@pytest.mark.parametrize("data", [b"", b"x" * 99, arrow({"position": [1]}), arrow({"symbol": [1]})])
def test_what_is_no_unknown_file_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "u.arrow"
    path.write_bytes(data)
    message = r"^.*u\.arrow cannot be read: .*; restore it, or build the corpus again\.$"
    with pytest.raises(DamagedError, match=message):
        open_unknown(str(path))
