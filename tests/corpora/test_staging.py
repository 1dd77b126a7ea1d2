"""Reading: what a task reads, and what it leaves for the later steps."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.corpora import staging as staging_module
from pipeline.corpora.sources import SourceFile, list_source
from pipeline.corpora.staging import (
    GROUP_BYTES,
    ReadUnit,
    StagedChunk,
    UnitResult,
    blob_url,
    plan_units,
    read_chunks,
    read_unit,
)
from pipeline.corpora.text import packed
from pipeline.errors import InputError

from .conftest import build, corpus_config


def source(size: int, name: str = "a") -> SourceFile:
    return SourceFile(name, f"/{name}", size)


def test_streams_come_first_and_whole() -> None:
    files = [source(10)]
    streams = [source(10**9, "s"), source(5, "t")]
    assert plan_units(files, streams, 1024) == [
        ReadUnit(0, "stream", [streams[0]]),
        ReadUnit(1, "stream", [streams[1]]),
        ReadUnit(2, "files", files),
    ]
    assert plan_units([], [], 1024) == []


def test_large_files_are_read_in_ranges() -> None:
    exact = source(1024, "e")
    large = source(2500, "l")
    units = plan_units([exact, large, exact], [], 1024)
    assert units == [
        ReadUnit(0, "range", [large], 0, 1024),
        ReadUnit(1, "range", [large], 1024, 2048),
        ReadUnit(2, "range", [large], 2048, 2500),
        ReadUnit(3, "files", [exact, exact]),
    ]
    assert [unit.size for unit in units] == [1024, 1024, 452, 2048]


def test_small_files_are_read_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GROUP_BYTES == 32 << 20
    monkeypatch.setattr(staging_module, "GROUP_BYTES", 10)
    monkeypatch.setattr(staging_module, "FILE_BYTES", 0)
    sizes = [4, 6, 1, 9, 10, 11, 0, 3]
    files = [source(size, str(size)) for size in sizes]
    units = plan_units(files, [], 100)
    assert [[file.size for file in unit.files] for unit in units] == [
        [4, 6],
        [1, 9],
        [10],
        [11],
        [0, 3],
    ]
    assert [unit.number for unit in units] == [0, 1, 2, 3, 4]
    assert {unit.kind for unit in units} == {"files"}


def test_empty_files_do_not_all_land_in_one_task() -> None:
    units = plan_units([source(0, str(number)) for number in range(20_000)], [], 100)
    assert [len(unit.files) for unit in units] == [8192, 8192, 3616]


def test_anchors_of_crlf_text_cost_bytes_a_line(tmp_path: Path) -> None:
    """Short lines of many lengths: in staging, and in the version that is built of them."""
    lines = [b"x" * (number * number % 7) + b"\r\n" for number in range(100_000)]
    path = tmp_path / "t.txt"
    path.write_bytes(b"".join(lines))
    size = path.stat().st_size
    file = SourceFile("t.txt", str(path), size)
    staging = str(tmp_path / "staging")
    read_unit(ReadUnit(3, "files", [file]), corpus_config(newlines="lf"), staging)
    (row,) = read_chunks(staging, 3)
    assert len(row.anchors) == 16 * (len(lines) + 1)
    assert sum(staged.stat().st_size for staged in Path(staging).iterdir()) < 2 * size
    version = Path(build(tmp_path, path, newlines="lf").url)
    assert sum(built.stat().st_size for built in version.iterdir()) < 2 * size


def read(
    tmp_path: Path, kind: str, paths: list[Path], start: int = 0, stop: int = 0, **changes: Any
) -> tuple[UnitResult, bytes, list[StagedChunk]]:
    """Read a unit 3; returns its result, its blob and its chunk table."""
    files = [SourceFile(path.name, str(path), path.stat().st_size) for path in paths]
    target = str(tmp_path / "staging")
    unit = ReadUnit(3, kind, files, start, stop)
    result = read_unit(unit, corpus_config(chunk_bytes=1024, **changes), target)
    assert blob_url(target, 3) == f"{target}/unit-00003.bin"
    return result, Path(blob_url(target, 3)).read_bytes(), read_chunks(target, 3)


ANCHORS = packed(np.array([(0, 3), (4, 8)]))


def test_files_are_staged_back_to_back(tmp_path: Path) -> None:
    texts = {"a": b"x" * 1500, "b": b"", "c": b"\xef\xbb\xbfone\r\ntwo\xff"}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    paths = [tmp_path / name for name in texts]
    result, blob, rows = read(tmp_path, "files", paths, newlines="lf")
    assert result == UnitResult(3, 3, 1512)
    assert UnitResult.from_json(result.to_json()) == result
    assert result.to_json() == {"unit": 3, "documents": 3, "source_bytes": 1512}
    assert blob == b"x" * 1500 + b"one\ntwo\xff"

    def digest(text: bytes) -> bytes:
        return hashlib.sha256(text).digest()

    assert rows == [
        StagedChunk(
            b"a", 0, 1024, digest(b"x" * 1024), 0, 1024, ord("x"), b"", b"", None, None, 1024
        ),
        StagedChunk(
            b"a", 1024, 476, digest(b"x" * 476), 1024, 476, ord("x"), b"", b"", None, None, 476
        ),
        StagedChunk(b"b", 0, 0, digest(b""), 1500, 0, -1, b"", b"", None, None, 0),
        StagedChunk(
            b"c", 0, 12, digest(texts["c"]), 1500, 8, ord("o"), ANCHORS, b"", None, None, 8
        ),
    ]


def test_tokens_are_characters_where_the_unit_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("éaé".encode())
    _, _, (row,) = read(tmp_path, "files", [tmp_path / "a"], unit="char")
    assert (row.tokens, row.bytes, row.first) == (3, 5, 0xE9)


def test_cuts_are_those_of_the_normalised_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\u00e9\r\n".encode() * 1000)
    unit = ReadUnit(0, "files", [SourceFile("a", str(tmp_path / "a"), 4000)])
    read_unit(unit, corpus_config(unit="char", newlines="lf"), str(tmp_path))
    (row,) = read_chunks(str(tmp_path), 0)
    # Lines of three bytes, two characters.
    assert np.frombuffer(row.cuts, "<i8").tolist() == [2049, 1366]


def test_the_beginning_of_a_document_tells_what_it_looks_like(tmp_path: Path) -> None:
    noise = b"\x1f\x8b" + b"x" * 1100 + b"\x00" * 300
    for name, text in (("a", noise), ("b", b"x" * 1100 + noise)):
        (tmp_path / name).write_bytes(text)
    _, _, rows = read(tmp_path, "files", [tmp_path / "a", tmp_path / "b"])
    # Only the first chunk of each is looked at: b begins like text.
    assert [(row.path, row.suspect) for row in rows] == [
        (b"a", "gzip"),
        (b"a", None),
        (b"b", None),
        (b"b", None),
        (b"b", None),
    ]


def test_a_range_is_one_chunk_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(97, 122)) * 100)
    text = (tmp_path / "a").read_bytes()
    result, blob, (row,) = read(tmp_path, "range", [tmp_path / "a"], 1024, 2048)
    assert blob == text[1024:2048]
    assert (row.source_offset, row.offset, row.path) == (1024, 0, b"a")
    # It does not begin the document: that is counted where it does.
    assert result == UnitResult(3, 0, 1024)
    first, _, _ = read(tmp_path, "range", [tmp_path / "a"], 0, 1024)
    assert first == UnitResult(3, 1, 1024)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1500)
    unit = ReadUnit(0, "range", [SourceFile("a", str(path), 3000)], 1024, 2048)
    with pytest.raises(InputError, match=r"/a changed its size while it was read; build again"):
        read_unit(unit, corpus_config(chunk_bytes=1024), str(tmp_path))
    path.unlink()
    for kind in ("range", "files"):
        unit = ReadUnit(0, kind, [SourceFile("a", str(path), 3000)], 1024, 2048)
        with pytest.raises(InputError, match=r"/a is not there any more"):
            read_unit(unit, corpus_config(chunk_bytes=1024), str(tmp_path))
    assert not list(tmp_path.iterdir())  # nothing is published of a unit that failed


def test_undecodable_text_is_refused_or_left_out(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"a" * 1030 + b"\xff")
    (tmp_path / "good").write_bytes(b"good")
    paths = [tmp_path / "bad", tmp_path / "good"]
    message = (
        r"^bad: invalid UTF-8 at byte 1030 \(invalid start byte\); use --decoding replace or skip, "
        r"or --unit byte to take bytes as they are\.$"
    )
    with pytest.raises(InputError, match=message):
        read(tmp_path, "files", paths, unit="char")
    result, blob, rows = read(tmp_path, "files", paths, unit="char", decoding="skip")
    assert result == UnitResult(3, 2, 1035)
    assert blob == b"a" * 1024 + b"good"
    reason = "invalid UTF-8 at byte 1030 (invalid start byte)"
    assert rows[1] == StagedChunk(b"bad", 1024, 7, skip=reason)
    assert (rows[1].first, rows[1].digest, rows[1].anchors) == (-1, bytes(32), b"")
    assert (rows[2].path, rows[2].offset) == (b"good", 1024)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
        link = tarfile.TarInfo("link")
        link.type = tarfile.SYMTYPE
        tar.addfile(link)
    return path


def test_an_archive_is_read_whole(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tar", {"a": b"x" * 1500, "b/c": b"text"})
    unit = ReadUnit(0, "stream", [SourceFile("top/", str(path), path.stat().st_size)])
    result = read_unit(unit, corpus_config(chunk_bytes=1024), str(tmp_path))
    assert result == UnitResult(0, 3, 1504)
    rows = read_chunks(str(tmp_path), 0)
    assert [(row.path, row.source_offset, row.offset, row.skip) for row in rows] == [
        (b"top/a", 0, 0, None),
        (b"top/a", 1024, 1024, None),
        (b"top/b/c", 0, 1500, None),
        (b"top/link", 0, 0, "link"),
    ]
    within = SourceFile("", str(path), 0, within="b")
    unit = ReadUnit(0, "stream", [within])
    read_unit(unit, corpus_config(), str(tmp_path))
    assert [row.path for row in read_chunks(str(tmp_path), 0)] == [b"c"]


def test_a_stream_is_compared_with_what_is_expected(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tar", {"a": b"text"})
    unit = ReadUnit(0, "stream", [SourceFile("", str(path), 0)])
    read_unit(unit, corpus_config(expect_bytes=4), str(tmp_path))
    with pytest.raises(InputError, match=r"x\.tar is not the text .* expect_bytes is 5, found 4"):
        read_unit(unit, corpus_config(expect_bytes=5), str(tmp_path / "other"))
    assert not (tmp_path / "other" / "unit-00000.bin").exists()


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a\udcff").write_bytes(b"text")
    _, _, (row,) = read(tmp_path, "files", [tmp_path / "a\udcff"])
    assert row.path == b"a\xff"


@pytest.mark.parametrize("kind", ["files", "range", "stream"])
def test_a_file_that_changes_to_the_same_size_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1500)
    os.utime(path, ns=(10**18, 10**18))
    (listed,) = list_source(str(tmp_path), corpus_config()).files
    named = list_source(str(path), corpus_config()).files
    for file in (listed, *named):
        unit = ReadUnit(0, kind, [file], 0, 1500)
        staging = tmp_path / "staging"
        read_unit(unit, corpus_config(), str(staging))
        path.write_bytes(b"y" * 1500)
        os.utime(path, ns=(10**18, 10**18 + 10**6))
        with pytest.raises(InputError, match=r"/a changed while it was read; build again when it"):
            read_unit(unit, corpus_config(), str(staging))
        os.utime(path, ns=(10**18, 10**18))
        read_unit(unit, corpus_config(), str(staging))
        shutil.rmtree(staging)


def test_a_remote_file_that_changes_is_refused(tmp_path: Path, website: tuple[str, Path]) -> None:
    address, folder = website
    (folder / "a.txt").write_bytes(b"x" * 1500)
    url = f"{address}/a.txt"
    (file,) = list_source(url, corpus_config()).streams
    unit = ReadUnit(0, "stream", [file])
    read_unit(unit, corpus_config(), str(tmp_path))
    (folder / "a.txt").write_bytes(b"x" * 1501)
    with pytest.raises(InputError, match=r"/a\.txt changed while it was read; build again when it"):
        read_unit(unit, corpus_config(), str(tmp_path))
