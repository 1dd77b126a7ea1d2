"""Read sources once: decode, normalise and spill every document to staging blobs under the root.

A read unit is a group of files, one range of a large file, or one archive or compressed stream. It
writes `unit-00007.bin` (normalised text, back to back) and `unit-00007.arrow` (its chunk table).
They are all that the later steps need: sources are fetched and decompressed once, and memory stays
bounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa

from pipeline import storage
from pipeline.corpora.blocks import packed_cuts
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.cutting import Chunks, range_chunks, stream_chunks
from pipeline.corpora.expected import Expectation
from pipeline.corpora.selection import Selection
from pipeline.corpora.sources import Skip, SourceFile, check_unchanged
from pipeline.corpora.streams import Guarded, Tick, open_stream, reading
from pipeline.corpora.suspects import looks_like
from pipeline.corpora.text import UndecodableError, prepare
from pipeline.corpora.vocab import symbols_of
from pipeline.errors import InputError
from pipeline.progress import Progress, bytes_of

GROUP_BYTES = 32 << 20  # small files go in groups of this size: Ray Data takes 18 ms a task

# A file costs at least as much as this many bytes: so millions of empty ones are several tasks.
FILE_BYTES = 4 << 10

_NO_DIGEST = bytes(32)

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
        ("anchors", pa.binary()),  # the way back to the source: see text.py
        ("cuts", pa.binary()),  # where a block may begin: see blocks.py
        ("suspect", pa.string()),  # what the document looks like, if not like text; or null
        ("skip", pa.string()),  # why the document is left out, or null
    ]
)


@dataclass(frozen=True)
class StagedChunk:
    """A row of a chunk table: its fields are the columns of CHUNKS.

    A skipped document has rows too, without text.
    """

    path: bytes
    source_offset: int
    source_bytes: int
    digest: bytes = _NO_DIGEST
    offset: int = 0
    tokens: int = 0
    first: int = -1
    anchors: bytes = b""
    cuts: bytes = b""
    suspect: str | None = None
    skip: str | None = None
    bytes: int = 0  # the last field: behind it, the type of this name is hidden


@dataclass(frozen=True)
class ReadUnit:
    """What one task reads.

    `kind` is files, range or stream; `start` and `stop` cut the single file of a range.
    """

    number: int
    kind: str
    files: list[SourceFile]
    start: int = 0
    stop: int = 0

    @property
    def size(self) -> int:
        """Bytes to read, as the sources give them: compressed, where they are."""
        if self.kind == "range":
            return self.stop - self.start
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class UnitResult:
    """What reading one unit came to; what is skipped counts too."""

    unit: int
    documents: int
    source_bytes: int

    def to_json(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "documents": self.documents,
            "source_bytes": self.source_bytes,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> UnitResult:
        return cls(value["unit"], value["documents"], value["source_bytes"])


def plan_units(
    files: list[SourceFile], streams: list[SourceFile], chunk_bytes: int
) -> list[ReadUnit]:
    """Group small files, and cut large ones at multiples of `chunk_bytes`; streams stay whole.

    The grouping decides which task reads what, never what is written in the end.
    """
    units: list[ReadUnit] = []

    def add(kind: str, members: list[SourceFile], start: int = 0, stop: int = 0) -> None:
        units.append(ReadUnit(len(units), kind, members, start, stop))

    # Streams cannot be divided, so they take longest: whoever comes last would work alone.
    for stream in streams:
        add("stream", [stream])
    group: list[SourceFile] = []
    room = GROUP_BYTES
    for file in files:
        if file.size > chunk_bytes:
            for start in range(0, file.size, chunk_bytes):
                add("range", [file], start, min(start + chunk_bytes, file.size))
            continue
        cost = max(file.size, FILE_BYTES)
        if group and cost > room:
            add("files", group)
            group = []
            room = GROUP_BYTES
        group.append(file)
        room -= cost
    if group:
        add("files", group)
    return units


def blob_url(staging: str, unit: int) -> str:
    """Where a unit's normalised text is staged."""
    return storage.join(staging, f"unit-{unit:05d}.bin")


def table_url(staging: str, unit: int) -> str:
    """Where a unit's chunk table is staged."""
    return storage.join(staging, f"unit-{unit:05d}.arrow")


def read_unit(unit: ReadUnit, config: CorpusConfig, staging: str) -> UnitResult:
    """Read one unit, and write its blob and chunk table. A stream logs its progress."""
    # Only a stream is checked here: build.py has checked plain files before it staged anything.
    is_stream = unit.kind == "stream"
    expectation = Expectation(config) if is_stream else None
    progress = Progress(f"read {unit.files[0].url}", unit.size, "B") if is_stream else None
    with storage.writing(blob_url(staging, unit.number)) as blob:
        writer = _ChunkWriter(blob, config, expectation)

        def tick(read: int) -> None:
            if progress:
                text = bytes_of(writer.offset)
                progress.add(read, f"{writer.documents:,} documents, {text} of text")

        for path, document in _documents(unit, config, tick):
            if isinstance(document, Skip):
                writer.skip_document(path, document)
            else:
                writer.write_document(path, document)
        if expectation:
            expectation.check(unit.files[0].url)
        # In the end: a file that changes before it has been read may have been read either way.
        for file in unit.files:
            with reading(file.url):
                check_unchanged(file)
    write_chunks(staging, unit.number, writer.rows)
    documents = sum(row.source_offset == 0 for row in writer.rows)
    return UnitResult(unit.number, documents, sum(row.source_bytes for row in writer.rows))


def read_chunks(staging: str, unit: int) -> list[StagedChunk]:
    """The chunk table of one unit."""
    with storage.open_read(table_url(staging, unit)) as file:
        table = pa.ipc.open_file(file).read_all()
    return [StagedChunk(**row) for row in table.to_pylist()]


def write_chunks(staging: str, unit: int, rows: list[StagedChunk]) -> None:
    """Stage the chunk table of one unit."""
    # vars(), not asdict(), which copies everything.
    table = pa.Table.from_pylist([vars(row) for row in rows], schema=CHUNKS)
    url = table_url(staging, unit)
    # Anchors of short lines are as large as their text, and nearly all alike.
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with storage.writing(url) as file, pa.ipc.new_file(file, CHUNKS, options=options) as writer:
        writer.write_table(table)


class _ChunkWriter:
    """Prepares chunks and appends them to a blob; keeps a row of the chunk table for each.

    A document that cannot be decoded is refused, or left out whole: a later step looks at all of
    its rows.
    """

    def __init__(
        self, blob: IO[bytes], config: CorpusConfig, expectation: Expectation | None
    ) -> None:
        self.blob = blob
        self.config = config
        self.expectation = expectation
        self.rows: list[StagedChunk] = []
        self.offset = 0  # in the blob
        self.documents = 0

    def skip_document(self, path: str, skip: Skip) -> None:
        self.rows.append(StagedChunk(_path_bytes(path), 0, skip.size, skip=skip.reason))

    def write_document(self, path: str, chunks: Chunks) -> None:
        self.documents += 1
        for source_offset, raw in chunks:
            if self.expectation:
                self.expectation.add(path, raw)
            self.rows.append(self._write(path, source_offset, raw))

    def _write(self, path: str, source_offset: int, raw: bytes) -> StagedChunk:
        """Write one chunk to the blob; returns its row."""
        name = _path_bytes(path)
        try:
            prepared = prepare(raw, self.config, starts_document=source_offset == 0)
        except UndecodableError as error:
            what = f"invalid UTF-8 at byte {source_offset + error.offset} ({error.reason})"
            if self.config.decoding == "strict":
                raise InputError(
                    f"{path}: {what}; use --decoding replace or skip, "
                    "or --unit byte to take bytes as they are."
                ) from None
            return StagedChunk(name, source_offset, len(raw), skip=what)
        offset = self.offset
        self.blob.write(prepared.text)
        self.offset += len(prepared.text)
        symbols = symbols_of(prepared.text, self.config.unit)
        return StagedChunk(
            path=name,
            source_offset=source_offset,
            source_bytes=len(raw),
            offset=offset,
            bytes=len(prepared.text),
            tokens=len(symbols),
            first=int(symbols[0]) if len(symbols) else -1,
            digest=hashlib.sha256(raw).digest(),
            anchors=prepared.anchors,
            cuts=packed_cuts(prepared.text, len(symbols)),
            suspect=None if source_offset else looks_like(raw),
        )


def _path_bytes(path: str) -> bytes:
    """A path as its file system has it: names need not be UTF-8."""
    return path.encode("utf-8", "surrogateescape")


def _documents(
    unit: ReadUnit, config: CorpusConfig, tick: Tick
) -> Iterator[tuple[str, Chunks | Skip]]:
    """Yield (path, chunks or Skip) for every document of a unit, all cut at the same places."""
    chunk_bytes = config.chunk_bytes
    if unit.kind == "range":
        yield unit.files[0].path, _file_range(unit, chunk_bytes)
    elif unit.kind == "stream":
        source = unit.files[0]
        # An archive's path is the folder of its members, a compressed file's that of its document.
        prefix = source.path if source.path.endswith("/") else ""
        for path, stream in open_stream(source, Selection(config, prefix, source.within), tick):
            if isinstance(stream, Skip):
                yield path, stream
            else:
                yield path, stream_chunks(stream, chunk_bytes)
    else:
        for file in unit.files:
            with reading(file.url):
                opened = storage.open_read(file.url)
            with opened:
                yield file.path, stream_chunks(Guarded(opened, file.url), chunk_bytes)


def _file_range(unit: ReadUnit, chunk_bytes: int) -> Chunks:
    """The chunk of a range unit."""
    file = unit.files[0]

    def read(low: int, high: int) -> bytes:
        with reading(file.url):
            data = storage.read_range(file.url, low, high)
        if len(data) != high - low:
            raise InputError(
                f"{file.url} changed its size while it was read; build again when it is at rest."
            )
        return data

    return range_chunks(read, file.size, unit.start, unit.stop, chunk_bytes)
