"""From the chunk tables of all read units to documents: which count, and which are left out."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline import storage
from pipeline.corpora.documents import Chunk, Document
from pipeline.corpora.sources import Skip
from pipeline.corpora.staging import ReadUnit, StagedChunk, read_chunks
from pipeline.errors import InputError

# The chunks of one document, in order, each with the number of the unit that read it.
_Rows = list[tuple[int, StagedChunk]]


def gather(staging: str, units: list[ReadUnit]) -> tuple[list[Document], list[Skip]]:
    """Documents and skips of all units, in order of path.

    Of a path that comes twice in one archive the last counts, as tar does. Raises InputError when
    two sources have a document of one name.
    """
    documents: list[Document] = []
    skips: list[Skip] = []
    for path, rows in sorted(_rows_by_path(staging, units).items()):
        # One bad chunk is enough: a document is taken whole or not at all.
        reason = next((row.skip for _, row in rows if row.skip), None)
        if reason is None:
            documents.append(_document(path, rows))
        else:
            size = sum(row.source_bytes for _, row in rows)
            skips.append(Skip(path.decode("utf-8", "surrogateescape"), reason, size))
    return documents, skips


def _rows_by_path(staging: str, units: list[ReadUnit]) -> dict[bytes, _Rows]:
    by_path: dict[bytes, _Rows] = {}
    for number, row in _all_rows(staging, units):
        if row.source_offset == 0:
            # A document begins. What an archive had under this name before counts no more.
            earlier = by_path.get(row.path)
            if earlier and earlier[0][0] != number:
                raise InputError(_both_have(units[earlier[0][0]], units[number], row.path))
            by_path[row.path] = []
        by_path.setdefault(row.path, []).append((number, row))
    return by_path


def _all_rows(staging: str, units: list[ReadUnit]) -> Iterator[tuple[int, StagedChunk]]:
    for unit in units:
        for row in read_chunks(staging, unit.number):
            yield unit.number, row


def _both_have(one: ReadUnit, other: ReadUnit, path: bytes) -> str:
    return (
        f"{one.files[0].url} and {other.files[0].url} both have a document "
        f"{path.decode('utf-8', 'replace')}; rename one, or build two corpora."
    )


def _document(path: bytes, rows: _Rows) -> Document:
    chunks = [
        Chunk(
            unit=unit,
            offset=row.offset,
            bytes=row.bytes,
            tokens=row.tokens,
            source_offset=row.source_offset,
            source_bytes=row.source_bytes,
            anchors=row.anchors,
            cuts=row.cuts,
        )
        for unit, row in rows
    ]
    # Of digests, not of bytes: chunks are read by several tasks, none of which sees all of them.
    digest = bytes.fromhex(storage.sha256_bytes(b"".join(row.digest for _, row in rows)))
    first = next((row.first for _, row in rows if row.tokens), -1)
    return Document(path, chunks, digest, first, rows[0][1].suspect or "")
