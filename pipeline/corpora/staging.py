"""Read sources once: decode, normalise and spill every document to staging blobs under the root.

A read unit is a group of files, one range of a large file, or one archive or compressed stream. It writes
`unit-00007.bin` (normalised text, back to back) and `unit-00007.arrow` (its chunk table): all that the later steps need,
so that sources are fetched and decompressed once and memory stays bounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa

from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.expected import Expectation
from pipeline.corpora.sources import Selection, Skip, SourceFile
from pipeline.corpora.streams import Guarded, Tick, open_stream, reading
from pipeline.corpora.text import UndecodableError, cut_place, cut_window, prepare
from pipeline.corpora.vocab import symbols_of
from pipeline.errors import InputError
from pipeline.progress import Progress, bytes_of

GROUP_BYTES = 32 << 20  # small files are read in groups of about this size: a task costs about 18 ms

CHUNKS = pa.schema(
    [
        ("path", pa.binary()),
        ("source_offset", pa.int64()),
        ("source_bytes", pa.int64()),
        ("offset", pa.int64()),  # in the unit's blob
        ("bytes", pa.int64()),
        ("tokens", pa.int64()),
        ("first", pa.int64()),  # first symbol, -1 when the chunk is empty
        ("digest", pa.binary(32)),  # SHA-256 of the source bytes
        ("anchors", pa.list_(pa.int64())),  # text offset, source offset, text offset, ...
        ("skip", pa.string()),  # why the document is left out, or null
    ]
)


@dataclass(frozen=True)
class ReadUnit:
    """What one task reads. `kind` is files, range or stream; `start` and `stop` cut the single file of a range."""

    number: int
    kind: str
    files: list[SourceFile]
    start: int = 0
    stop: int = 0

    @property
    def size(self) -> int:
        return self.stop - self.start if self.kind == "range" else sum(file.size for file in self.files)


def plan_units(files: list[SourceFile], streams: list[SourceFile], chunk_bytes: int) -> list[ReadUnit]:
    """Group small files, cut large ones at multiples of `chunk_bytes`; streams stay whole, and come first: they take longest.

    The grouping decides which task reads what, never what is written in the end.
    """
    units: list[ReadUnit] = []
    group: list[SourceFile] = []
    room = GROUP_BYTES

    def add(kind: str, members: list[SourceFile], start: int = 0, stop: int = 0) -> None:
        units.append(ReadUnit(len(units), kind, members, start, stop))

    for stream in streams:
        add("stream", [stream])
    for file in files:
        if file.size > chunk_bytes:
            for start in range(0, file.size, chunk_bytes):
                add("range", [file], start, min(start + chunk_bytes, file.size))
            continue
        if group and file.size > room:
            add("files", group)
            group, room = [], GROUP_BYTES
        group.append(file)
        room -= file.size
    if group:
        add("files", group)
    return units


def read_unit(unit: ReadUnit, config: CorpusConfig, staging: str) -> dict[str, Any]:
    """Read one unit, write its blob and chunk table, return {unit, documents, source_bytes}. A stream logs its progress."""
    rows: list[dict[str, Any]] = []
    base = storage.join(staging, f"unit-{unit.number:05d}")
    progress = Progress(f"read {unit.files[0].url}", unit.size, "B") if unit.kind == "stream" else None
    expectation = Expectation(config) if unit.kind == "stream" else None
    with storage.writing(f"{base}.bin") as blob:
        writer = _ChunkWriter(blob, config, rows, expectation)

        def tick(read: int) -> None:
            if progress:
                progress.add(read, f"{writer.documents:,} documents, {bytes_of(writer.offset)} of text")

        for path, chunks in _documents(unit, config, tick):
            if isinstance(chunks, Skip):
                rows.append(_skip_row(path, chunks.reason, chunks.size))
            else:
                writer.write_document(path, chunks)
        if expectation:
            expectation.check(unit.files[0].url)
    _write_table(f"{base}.arrow", rows)
    return {
        "unit": unit.number,
        "documents": sum(row["source_offset"] == 0 for row in rows),
        "source_bytes": sum(row["source_bytes"] for row in rows),
    }


def read_chunks(staging: str, number: int) -> pa.Table:
    """The chunk table of one unit."""
    with storage.open_read(storage.join(staging, f"unit-{number:05d}.arrow")) as file:
        return pa.ipc.open_file(file).read_all()


_Chunks = Iterator[tuple[int, bytes]]


class _ChunkWriter:
    """Prepares chunks and appends them to a blob; a document that cannot be decoded is refused or left out whole."""

    def __init__(
        self, blob: IO[bytes], config: CorpusConfig, rows: list[dict[str, Any]], expectation: Expectation | None
    ) -> None:
        self.blob, self.config, self.rows, self.expectation = blob, config, rows, expectation
        self.offset = self.documents = 0

    def write_document(self, path: str, chunks: _Chunks) -> None:
        self.documents += 1
        for source_offset, raw in chunks:
            if self.expectation:
                self.expectation.add(path, raw)
            self.rows.append(self._row(path, source_offset, raw))

    def _row(self, path: str, source_offset: int, raw: bytes) -> dict[str, Any]:
        name = path.encode("utf-8", "surrogateescape")
        try:
            prepared = prepare(raw, self.config, starts_document=source_offset == 0)
        except UndecodableError as error:
            what = f"invalid UTF-8 at byte {source_offset + error.offset} ({error.reason})"
            if self.config.decoding == "strict":
                raise InputError(
                    f"{path}: {what}; use --decoding replace or skip, or --unit byte to take bytes as they are."
                ) from None
            return _skip_row(path, what, len(raw)) | {"source_offset": source_offset}
        symbols = symbols_of(prepared.text, self.config.unit)
        self.blob.write(prepared.text)
        self.offset += len(prepared.text)
        return {
            "path": name,
            "source_offset": source_offset,
            "source_bytes": len(raw),
            "offset": self.offset - len(prepared.text),
            "bytes": len(prepared.text),
            "tokens": len(symbols),
            "first": int(symbols[0]) if len(symbols) else -1,
            "digest": hashlib.sha256(raw).digest(),
            "anchors": [offset for anchor in prepared.anchors for offset in anchor],
            "skip": None,
        }


def _skip_row(path: str, reason: str, source_bytes: int) -> dict[str, Any]:
    return {
        "path": path.encode("utf-8", "surrogateescape"),
        "source_offset": 0,
        "source_bytes": source_bytes,
        "offset": 0,
        "bytes": 0,
        "tokens": 0,
        "first": -1,
        "digest": bytes(32),
        "anchors": [],
        "skip": reason,
    }


def _write_table(url: str, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=CHUNKS)
    with storage.writing(url) as file, pa.ipc.new_file(file, CHUNKS) as writer:
        writer.write_table(table)


def _documents(unit: ReadUnit, config: CorpusConfig, tick: Tick) -> Iterator[tuple[str, _Chunks | Skip]]:
    """Yield (path, chunks), chunks being (source offset, bytes), all cut at the same fixed places."""
    if unit.kind == "range":
        yield unit.files[0].path, _range_chunks(unit, config.chunk_bytes)
    elif unit.kind == "stream":
        source = unit.files[0]
        prefix = source.path if source.path.endswith("/") else ""
        for path, stream in open_stream(source, Selection(config, prefix, source.within), tick):
            yield path, stream if isinstance(stream, Skip) else stream_chunks(stream, config.chunk_bytes)
    else:
        for file in unit.files:
            with reading(file.url):
                opened = storage.open_read(file.url)
            with opened:
                yield file.path, stream_chunks(Guarded(opened, file.url), config.chunk_bytes)


def stream_chunks(stream: Guarded | IO[bytes], chunk_bytes: int) -> _Chunks:
    """Cut a stream near multiples of `chunk_bytes`; an empty document is one empty chunk."""
    held, start, number, ended = b"", 0, 0, False
    window = cut_window(chunk_bytes)
    while True:
        wanted = (number + 1) * chunk_bytes + window - start - len(held)
        pieces = [held]
        while not ended and wanted > 0:
            pieces.append(stream.read(wanted))
            ended = not pieces[-1]
            wanted -= len(pieces[-1])
        held = b"".join(pieces)
        target = (number + 1) * chunk_bytes - start
        place = None if target >= len(held) else cut_place(held[target:], held[target - 1 : target], window)
        if place is None and ended:
            yield start, held
            return
        if place is None:
            raise AssertionError("cut_place finds a place in a full window")
        yield start, held[: target + place]
        start, held, number = start + target + place, held[target + place :], number + 1


def _range_chunks(unit: ReadUnit, chunk_bytes: int) -> _Chunks:
    """The one chunk of a file that belongs to [start, stop): from the cut at or behind start to the cut behind stop."""
    file = unit.files[0]
    low = max(0, unit.start - 1)
    window = cut_window(chunk_bytes)
    high = min(file.size, unit.stop + window)
    with reading(file.url):
        data = storage.read_range(file.url, low, high)
    if len(data) != high - low:
        raise InputError(f"{file.url} changed its size while it was read; build again when it is at rest.")
    first = 0
    if unit.start:
        place = cut_place(data[1 : 1 + window], data[:1], window)
        first = len(data) if place is None else 1 + place
    last = len(data)
    if unit.stop < file.size:
        at = unit.stop - low
        place = cut_place(data[at:], data[at - 1 : at], window)
        last = len(data) if place is None else at + place
    if first < last or unit.start == 0:
        yield low + first, data[first:last]
