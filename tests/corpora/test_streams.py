"""Archives and compressed files as streams: every member in order, what is no document skipped."""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from pipeline.corpora import streams
from pipeline.corpora.selection import Selection
from pipeline.corpora.sources import Skip, SourceFile
from pipeline.corpora.streams import Guarded, open_stream, reading
from pipeline.errors import InputError

from .conftest import corpus_config


def tar_of(*members: tuple[str, Any]) -> bytes:
    """A tar of (name, text), or of (name, type of a member without text)."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, text in members:
            member = tarfile.TarInfo(name)
            if isinstance(text, str):
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
            else:
                member.type = text
                tar.addfile(member)
    return sink.getvalue()


def zip_of(*members: tuple[str, str], modes: dict[str, int] | None = None) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, text in members:
            info = zipfile.ZipInfo(name)
            info.create_system = 0 if "\\" in name else 3  # DOS, Unix
            info.external_attr = (modes or {}).get(name, 0o100644) << 16
            archive.writestr(info, text)
    return sink.getvalue()


def contents(path: Path, ticks: list[int] | None = None, **changes: Any) -> list[Any]:
    """(name, text or Skip) of each member."""
    source = SourceFile(changes.pop("named", ""), str(path), 0)
    tick = (lambda _: None) if ticks is None else ticks.append
    selection = Selection(corpus_config(**changes))
    return [
        (name, stream if isinstance(stream, Skip) else read_all(stream))
        for name, stream in open_stream(source, selection, tick)
    ]


def read_all(stream: Guarded) -> bytes:
    """In pieces, as staging reads."""
    return b"".join(iter(lambda: stream.read(99), b""))


def test_members_of_a_tar_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(
        tar_of(
            ("b", "second"),
            ("dir", tarfile.DIRTYPE),
            ("./a/../b/c", "plain"),
            ("/abs", "root"),
            ("soft", tarfile.SYMTYPE),
            ("hard", tarfile.LNKTYPE),
            ("pipe", tarfile.FIFOTYPE),
            ("b", "again"),
        )
    )
    assert contents(path) == [
        ("b", b"second"),
        ("a/b/c", b"plain"),
        ("abs", b"root"),
        ("soft", Skip("soft", "link")),
        ("pipe", Skip("pipe", "not a regular file")),
        ("b", b"again"),
        ("hard", Skip("hard", "link")),  # to nothing
    ]
    assert contents(path, include=["b", "pipe"], exclude=["a/*"]) == [
        ("b", b"second"),
        ("pipe", Skip("pipe", "not a regular file")),
        ("b", b"again"),
    ]


def test_a_large_tar_keeps_no_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of(*((f"f{n}", "x") for n in range(50))))
    kept = []
    real = tarfile.TarFile.extractfile

    def extractfile(tar: tarfile.TarFile, member: Any) -> Any:
        kept.append(len(tar.members))  # type: ignore[attr-defined]
        return real(tar, member)

    monkeypatch.setattr(tarfile.TarFile, "extractfile", extractfile)
    assert len(contents(path)) == 50
    assert max(kept) <= 1


def test_members_of_a_zip_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    data = zip_of(
        ("b", "second"), ("dir/", ""), ("c\\d", "windows"), ("link", "b"), ("locked", "secret"),
        modes={"link": 0o120777},
    )  # fmt: skip
    # The first bit of a member's flags says that it is encrypted: in its header and the directory.
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.rindex(mark) + flags
        data = data[:place] + b"\x01" + data[place + 1 :]
    path.write_bytes(data)
    ticks: list[int] = []
    assert contents(path, ticks) == [
        ("b", b"second"),
        ("c/d", b"windows"),
        ("link", Skip("link", "link")),
        ("locked", Skip("locked", "encrypted", 6)),
    ]
    assert ticks == [6, 0, 7]
    ticks.clear()
    assert contents(path, ticks, include=["b"]) == [("b", b"second")]
    assert ticks == [6, 0, 7, 1, 6]


@pytest.mark.parametrize(
    ("ending", "compress"),
    [
        ("gz", gzip.compress),
        ("bz2", bz2.compress),
        ("zst", lambda data: pa.compress(data, codec="zstd", asbytes=True)),
    ],
)
def test_a_compressed_file_is_one_document(tmp_path: Path, ending: str, compress: Any) -> None:
    path = tmp_path / f"t.txt.{ending}"
    packed = compress(b"text " * 99) + compress(b"more")
    path.write_bytes(packed)
    ticks: list[int] = []
    assert contents(path, ticks, named="t.txt") == [("t.txt", b"text " * 99 + b"more")]
    assert sum(ticks) == len(packed)


def test_a_plain_stream_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"text")
    assert contents(path, named="t.txt") == [("t.txt", b"text")]


def test_a_tar_that_ends_without_its_mark_is_cut_short(tmp_path: Path) -> None:
    whole = tar_of(("a", "x" * 512), ("b", "y" * 512))
    path = tmp_path / "x.tar"
    path.write_bytes(whole[:2048])  # both members are there; nobody knows whether more were
    with pytest.raises(
        InputError, match=r"x\.tar: ReadError: damaged or cut short behind byte 2048"
    ):
        contents(path)
    path.write_bytes(whole[:1200])
    with pytest.raises(
        InputError, match=r"x\.tar: ReadError: damaged or cut short behind byte 1024"
    ):
        contents(path)
    damaged = bytearray(whole)
    damaged[1024 + 150] ^= 0xFF  # the checksum of the second header
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"behind byte 1024 \(invalid header\)"):
        contents(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"x\.tar: ReadError: damaged or cut short behind byte 0"):
        contents(path)


def test_a_remote_zip_is_copied_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/x.zip", zip_of(("a", "text")))
    copies = []
    real = streams.shutil.copyfileobj

    def copyfileobj(source: Any, target: Any, size: int) -> None:
        copies.append(size)
        real(source, target, size)

    monkeypatch.setattr(streams.shutil, "copyfileobj", copyfileobj)
    source = SourceFile("", "memory://x.zip", 0)
    for _, stream in open_stream(source, Selection(corpus_config())):
        assert isinstance(stream, Guarded)
        assert stream.read() == b"text"
    assert len(copies) == 1
    (tmp_path / "x.zip").write_bytes(zip_of(("a", "text")))
    assert contents(tmp_path / "x.zip") == [("a", b"text")]
    assert len(copies) == 1
    memory.store.clear()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError("x"), r"^source url is not there any more; build again when it is at r"),
        (
            OSError("disk\n  on   fire"),
            r"^cannot read source url: OSError: disk on fire\. Check that it is whole, or fetch it",
        ),
        (EOFError(), r"^cannot read source url: EOFError: it ends early\. Check"),
        (InputError("ours"), r"^ours$"),
    ],
)
def test_whatever_goes_wrong_names_the_source(error: Exception, message: str) -> None:
    with pytest.raises(InputError, match=message), reading("url"):
        raise error


def test_a_reader_that_stops_early_is_no_error_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of(("a", "text"), ("b", "text")))
    stream = open_stream(SourceFile("", str(path), 0), Selection(corpus_config()))
    assert next(stream)[0] == "a"
    stream.close()


def test_a_member_that_cannot_be_read_names_the_source() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(f"no {size}")

    guarded = Guarded(Broken(), "url")
    for arguments, size in (((), -1), ((7,), 7)):
        with pytest.raises(InputError, match=f"cannot read source url: OSError: no {size}"):
            guarded.read(*arguments)
