"""Chunk tables become documents: whole ones, each once, and the rest is skipped with its reason."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.corpora.documents import Chunk, Document
from pipeline.corpora.gather import gather
from pipeline.corpora.sources import Skip, SourceFile
from pipeline.corpora.staging import ReadUnit, StagedChunk, read_unit, write_chunks
from pipeline.errors import InputError

from .conftest import corpus_config


def digest(*chunks: bytes) -> bytes:
    """SHA-256 over the SHA-256 of each chunk."""
    return hashlib.sha256(b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)).digest()


def unit(number: int, url: str = "") -> ReadUnit:
    return ReadUnit(number, "stream", [SourceFile("", url or f"/source-{number}", 0)])


def row(path: str, source_offset: int, text: bytes, offset: int) -> StagedChunk:
    """A row of a chunk that reading left as it was."""
    return StagedChunk(
        path=path.encode("utf-8", "surrogateescape"),
        source_offset=source_offset,
        source_bytes=len(text),
        digest=hashlib.sha256(text).digest(),
        offset=offset,
        tokens=len(text),
        first=text[0] if text else -1,
        bytes=len(text),
    )


def gathered(tmp_path: Path, *tables: list[StagedChunk]) -> tuple[list[Document], list[Skip]]:
    for number, rows in enumerate(tables):
        write_chunks(str(tmp_path), number, rows)
    return gather(str(tmp_path), [unit(number) for number in range(len(tables))])


def test_documents_stand_in_order_of_path_with_their_chunks_in_order(tmp_path: Path) -> None:
    documents, skips = gathered(
        tmp_path,
        [row("b", 0, b"first", 0), row("a", 0, b"alone", 5)],
        [row("b", 5, b" second", 0)],
        [row("c", 0, b"", 3)],
    )
    assert skips == []
    assert documents == [
        Document(b"a", [Chunk(0, 5, 5, 5, 0, 5)], digest(b"alone"), ord("a")),
        Document(
            b"b", [Chunk(0, 0, 5, 5, 0, 5), Chunk(1, 0, 7, 7, 5, 7)], digest(b"first", b" second"),
            ord("f"),
        ),
        Document(b"c", [Chunk(2, 3, 0, 0, 0, 0)], digest(b""), -1),
    ]  # fmt: skip


def test_the_first_symbol_is_that_of_the_first_chunk_with_text(tmp_path: Path) -> None:
    empty = StagedChunk(b"a", 0, 3, hashlib.sha256(b"\xef\xbb\xbf").digest())
    documents, _ = gathered(tmp_path, [empty, row("a", 3, b"xy", 0), row("a", 5, b"z", 2)])
    assert documents[0].first == ord("x")


ANCHOR = b"\0" * 8 + b"\3" + b"\0" * 7  # text offset 0 is source offset 3


def test_anchors_cuts_and_suspicion_come_with_their_chunks(tmp_path: Path) -> None:
    moved = StagedChunk(b"a", 0, 5, bytes(32), 0, 2, 97, ANCHOR, bytes(range(16)), "gzip", None, 2)
    after = StagedChunk(b"a", 5, 1, bytes(32), 2, 1, 97, b"", b"", None, None, 1)
    documents, _ = gathered(tmp_path, [moved, after])
    assert documents[0].chunks == [
        Chunk(0, 0, 2, 2, 0, 5, ANCHOR, bytes(range(16))),
        Chunk(0, 2, 1, 1, 5, 1),
    ]
    assert documents[0].suspect == "gzip"


def test_of_one_path_in_an_archive_the_last_counts(tmp_path: Path) -> None:
    table = [
        row("a", 0, b"old", 0),
        row("a", 3, b"er", 3),
        row("b", 0, b"other", 5),
        row("a", 0, b"newer", 10),
    ]
    documents, _ = gathered(tmp_path, table)
    assert [(each.path, each.digest) for each in documents] == [
        (b"a", digest(b"newer")),
        (b"b", digest(b"other")),
    ]
    assert documents[0].chunks == [Chunk(0, 10, 5, 5, 0, 5)]


def test_one_bad_chunk_leaves_the_whole_document_out(tmp_path: Path) -> None:
    bad = StagedChunk(b"a", 5, 4, skip="invalid UTF-8 at byte 6 (no)")
    worse = StagedChunk(b"a", 9, 2, skip="invalid UTF-8 at byte 9 (no)")
    link = StagedChunk(b"z\xff", 0, 0, skip="link")
    documents, skips = gathered(tmp_path, [link, row("a", 0, b"first", 0), bad, worse])
    assert documents == []
    assert skips == [Skip("a", "invalid UTF-8 at byte 6 (no)", 11), Skip("z\udcff", "link", 0)]


def test_a_skipped_member_that_comes_again_counts(tmp_path: Path) -> None:
    documents, skips = gathered(
        tmp_path, [StagedChunk(b"a", 0, 0, skip="link"), row("a", 0, b"text", 0)]
    )
    assert (len(documents), skips) == (1, [])


def test_two_sources_with_one_document_are_named(tmp_path: Path) -> None:
    message = r"^/source-0 and /source-1 both have a document a�; rename one, or build two corpora"
    with pytest.raises(InputError, match=message):
        gathered(tmp_path, [row("a\udcff", 0, b"x", 0)], [row("a\udcff", 0, b"y", 0)])


def test_what_is_read_is_gathered(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"x" * 2500)
    file = SourceFile("t.txt", str(path), 2500)
    units = [
        ReadUnit(number, "range", [file], start, min(start + 1024, 2500))
        for number, start in enumerate(range(0, 2500, 1024))
    ]
    for each in reversed(units):
        read_unit(each, corpus_config(chunk_bytes=1024), str(tmp_path))
    documents, skips = gather(str(tmp_path), units)
    assert skips == []
    assert [(chunk.unit, chunk.source_offset, chunk.bytes) for chunk in documents[0].chunks] == [
        (0, 0, 1024),
        (1, 1024, 1024),
        (2, 2048, 452),
    ]
    assert documents[0].tokens == 2500
