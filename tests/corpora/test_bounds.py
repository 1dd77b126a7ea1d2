"""Bounds of what a source may hold: what exceeds one is named."""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora import bounds
from pipeline.corpora.bounds import Meter
from pipeline.corpora.forecast import BuildOptions, forecast
from pipeline.errors import InputError

from .conftest import build, corpus_config, documents

TEXT = b"sixteen bytes..\n"


def tar_of(**texts: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return sink.getvalue()


def zip_of(**texts: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return sink.getvalue()


LONG = TEXT * 100


# Ids are names: an archive's bytes are of the second it was made, and every process makes its own.
@pytest.mark.parametrize(
    ("name", "data", "named"),
    [
        ("long.txt", LONG, "long.txt has"),
        ("long.txt.gz", gzip.compress(LONG, mtime=0), "long.txt of source"),
        ("x.tar", tar_of(short=TEXT, long=LONG), "long of source"),
        ("x.tar.bz2", bz2.compress(tar_of(short=TEXT, long=LONG)), "long of source"),
        ("x.zip", zip_of(short=TEXT, long=LONG), "long of source"),
    ],
    ids=["txt", "gz", "tar", "bz2", "zip"],
)
def test_a_document_that_is_too_long_is_named(
    tmp_path: Path, name: str, data: bytes, named: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    for chunk_bytes in (1024, 16 << 20):  # cut into ranges, or whole
        with pytest.raises(InputError) as refused:
            build(tmp_path, path, max_document_bytes=len(LONG) - 1, chunk_bytes=chunk_bytes)
        message = str(refused.value)
        assert named in message
        assert name in message
        assert "more than max_document_bytes 1,599; raise --max_document_bytes" in message
    found = build(tmp_path, path, max_document_bytes=len(LONG))
    assert LONG in documents(found).values()


def test_a_document_that_is_left_out_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of(short=TEXT, long=LONG))
    found = build(tmp_path, tmp_path / "x.tar", exclude=["long"], max_document_bytes=16)
    assert documents(found) == {"short": TEXT}


def test_a_forecast_refuses_it_too(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_bytes(LONG)
    config = corpus_config(source=str(tmp_path / "long.txt"), max_document_bytes=9)
    with pytest.raises(InputError, match="max_document_bytes"):
        forecast(config, str(tmp_path), BuildOptions())


ZEROS = b" " * 300_000


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt.gz", gzip.compress(ZEROS, mtime=0)),
        ("a.txt.bz2", bz2.compress(ZEROS)),
        ("x.tar.gz", gzip.compress(tar_of(a=ZEROS), mtime=0)),
        ("x.tar.bz2", bz2.compress(tar_of(a=TEXT, unwanted=ZEROS))),
        ("x.zip", zip_of(a=ZEROS)),
    ],
    ids=["gz", "bz2", "tar.gz", "tar.bz2", "zip"],
)
def test_what_unpacks_to_too_much_is_named(
    tmp_path: Path, name: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    # Of little text it says nothing.
    assert documents(build(tmp_path / "1", path, exclude=["unwanted"]))
    monkeypatch.setattr(bounds, "FREE_BYTES", 100_000)
    with pytest.raises(InputError) as refused:
        build(tmp_path / "2", path, exclude=["unwanted"])
    message = str(refused.value)
    assert f"source {path} unpacks to more than max_expansion 200 times its size: " in message
    assert message.endswith("if it is not, raise --max_expansion.")
    assert documents(build(tmp_path / "3", path, exclude=["unwanted"], max_expansion=10**6))


def test_a_sparse_member_is_as_large_as_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kilobyte of an old GNU tar may stand for any number of zeros."""
    member = tarfile.TarInfo("sparse")
    member.size = 512
    head = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    head[156:157] = tarfile.GNUTYPE_SPARSE
    head[386:398] = b"%011o " % 0  # where the only stretch of data is
    head[398:410] = b"%011o " % 512
    head[483:495] = b"%011o " % (1 << 30)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    path = tmp_path / "x.tar"
    path.write_bytes(bytes(head) + b"x" * 512 + bytes(1024))
    monkeypatch.setattr(bounds, "FREE_BYTES", 100_000)
    with pytest.raises(InputError, match=r"unpacks to more than .* at document sparse\."):
        build(tmp_path, path)


def test_a_meter_compares_with_what_was_read() -> None:
    meter = Meter(corpus_config(max_expansion=2), "url")
    meter.unpack(bounds.FREE_BYTES)
    meter.consume(bounds.FREE_BYTES // 2 + 1)
    meter.unpack(2)
    with pytest.raises(InputError):
        meter.unpack(1)
    given = Meter(corpus_config(max_expansion=2), "url", packed=1).document("a")
    given(bounds.FREE_BYTES)
    with pytest.raises(InputError, match="at document a"):
        given(1)


def broken_tree(folder: Path, good: int, bad: int) -> Path:
    folder.mkdir()
    for number in range(good):
        (folder / f"good{number}.txt").write_bytes(TEXT)
    for number in range(bad):
        (folder / f"bad{number}.txt").write_bytes(b"\xff" + TEXT[1:])
    return folder


SKIPS: dict[str, Any] = {"unit": "char", "decoding": "skip"}


def test_too_much_that_is_skipped_fails_the_build(tmp_path: Path) -> None:
    folder = broken_tree(tmp_path / "src", good=99, bad=1)
    assert build(tmp_path, folder, **SKIPS).manifest.skipped == 1  # 1%, and no more
    (folder / "good0.txt").unlink()
    with pytest.raises(InputError) as refused:
        build(tmp_path, folder, **SKIPS)
    assert str(refused.value) == (
        "1 of 99 documents (1.01% of them, 1.01% of the bytes) cannot be read: "
        "bad0.txt: invalid UTF-8 at byte 0 (invalid start byte). That is more than "
        "max_skipped_fraction 0.01; mend them, leave them out with --exclude, or raise "
        "--max_skipped_fraction."
    )
    assert build(tmp_path, folder, max_skipped_fraction=0.02, **SKIPS).manifest.skipped == 1
    assert build(tmp_path, folder, exclude=["bad*"], **SKIPS).manifest.skipped == 0


def test_one_large_document_counts_by_its_bytes(tmp_path: Path) -> None:
    folder = broken_tree(tmp_path / "src", good=200, bad=0)
    (folder / "large.txt").write_bytes(TEXT * 100 + b"\xff")
    with pytest.raises(InputError, match=r"1 of 201 documents \(0\.50% of them, 33\.3"):
        build(tmp_path, folder, **SKIPS)


def test_some_of_many_are_named(tmp_path: Path) -> None:
    folder = broken_tree(tmp_path / "src", good=1, bad=5)
    with pytest.raises(InputError, match=r"bad0.*bad1.*bad2\.txt: [^;]*\) and 2 more\. That"):
        build(tmp_path, folder, **SKIPS)


def test_links_are_no_loss(tmp_path: Path) -> None:
    folder = broken_tree(tmp_path / "src", good=1, bad=0)
    for number in range(5):
        (folder / f"link{number}").symlink_to("good0.txt")
    assert build(tmp_path, folder).manifest.skipped == 5
