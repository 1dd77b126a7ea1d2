"""Sources as they really come.

Every kind of archive and compression, any store, chained, several, and damaged.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from pipeline import storage
from pipeline.corpora.sources import Listing, Skip, SourceFile, kind_of, list_source, stem
from pipeline.errors import InputError

from .conftest import build, contents, corpus_config, decoded, documents

TEXTS = {
    "a.txt": b"alpha " * 90,
    "b/c.txt": b"gamma " * 70,
    "b/d.md": b"delta " * 50,
    ".e.txt": b"hidden " * 20,
}
COMPRESS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def packed(texts: dict[str, bytes] = TEXTS, top: str = "") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return sink.getvalue()


def zipped(texts: dict[str, bytes] = TEXTS) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return sink.getvalue()


def tree(folder: Path, texts: dict[str, bytes] = TEXTS) -> Path:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    return folder


@pytest.mark.parametrize("ending", ["tar", "zip", "tgz", *(f"tar.{end}" for end in COMPRESS)])
def test_every_archive_gives_the_bytes_of_its_tree(tmp_path: Path, ending: str) -> None:
    data = (
        zipped({f"top-1/{name}": text for name, text in TEXTS.items()})
        if ending == "zip"
        else packed(top="top-1/")
    )
    for end, compress in COMPRESS.items():
        if ending.endswith(end) or (end, ending) == ("gz", "tgz"):
            data = compress(data)
    (tmp_path / f"x.{ending}").write_bytes(data)
    whole = build(tmp_path / "1", tree(tmp_path / "tree"), strip_prefix="top-*/")
    archive = build(tmp_path / "2", tmp_path / f"x.{ending}", strip_prefix="top-*/")
    assert contents(archive.url) == contents(whole.url)
    assert documents(archive) == TEXTS


@pytest.mark.parametrize("ending", COMPRESS)
def test_compressed_files_are_read_to_the_end_of_their_last_part(
    tmp_path: Path, ending: str
) -> None:
    text = b"one two three " * 4000
    half = COMPRESS[ending](text[:20_000]) + COMPRESS[ending](
        text[20_000:]
    )  # as parallel compressors write
    (tmp_path / f"t.txt.{ending}").write_bytes(half)
    corpus = build(tmp_path / "root", tmp_path / f"t.txt.{ending}", val=0.0, test=0.0)
    assert documents(corpus) == {"t.txt": text}


@pytest.mark.parametrize("ending", ["tar", "zip", *COMPRESS, *(f"tar.{end}" for end in COMPRESS)])
def test_what_is_cut_short_is_refused_by_name(tmp_path: Path, ending: str) -> None:
    data = zipped() if ending == "zip" else packed() if "tar" in ending else b"some text " * 1000
    data = COMPRESS[ending.rpartition(".")[2]](data) if ending not in ("tar", "zip") else data
    path = tmp_path / f"short.{ending}"
    # A tar ends with empty blocks: cut one inside a member, and exactly behind one.
    for kept in (4000, 3584) if ending == "tar" else (len(data) * 2 // 3, len(data) - 9):
        path.write_bytes(data[:kept])
        with pytest.raises(InputError, match=rf"short\.{ending}"):
            build(tmp_path / "root", path)
    path.write_bytes(b"")
    with pytest.raises(InputError):
        build(tmp_path / "root", path)


def test_a_damaged_tar_header_is_not_the_end_of_the_archive(tmp_path: Path) -> None:
    data = bytearray(packed({"a.txt": b"a" * 512, "b.txt": b"b" * 512, "c.txt": b"c" * 512}))
    data[1024 + 150] ^= 0xFF  # in the checksum of the second header
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.tar.*damaged"):
        build(tmp_path / "root", tmp_path / "x.tar")


def test_the_web_chained_and_plain(tmp_path: Path, website: tuple[str, Path]) -> None:
    address, folder = website
    (folder / "x.zip").write_bytes(zipped())
    (folder / "x.tar.gz").write_bytes(gzip.compress(packed()))
    (folder / "plain.txt").write_bytes(b"plain text " * 9000)
    tree(folder / "tree")
    cases: list[tuple[str, dict[str, bytes]]] = [
        ("zip://a.txt::{}/x.zip", {"a.txt": TEXTS["a.txt"]}),
        ("zip://b::{}/x.zip", {"c.txt": TEXTS["b/c.txt"], "d.md": TEXTS["b/d.md"]}),
        ("zip://b/*.md::{}/x.zip", {"d.md": TEXTS["b/d.md"]}),
        ("tar://b/c.txt::{}/x.tar.gz", {"c.txt": TEXTS["b/c.txt"]}),
        ("{}/x.tar.gz", TEXTS),
        ("{}/x.zip?download=1", TEXTS),
        ("{}/plain.txt", {"plain.txt": b"plain text " * 9000}),
        ("{}/tree/", TEXTS),
    ]
    for number, (url, expected) in enumerate(cases):
        corpus = build(
            tmp_path / str(number), url.format(address), chunk_bytes=4096, val=0.0, test=0.0
        )
        assert documents(corpus) == expected, url
    with pytest.raises(InputError, match="does not exist"):
        build(tmp_path / "root", f"{address}/nothing.txt")


def test_a_chain_to_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.zip").write_bytes(zipped())
    corpus = build(tmp_path / "root", "zip://a.txt::x.zip", val=0.0, test=0.0)
    assert documents(corpus) == {"a.txt": TEXTS["a.txt"]}


def test_several_sources_and_globs_keep_their_names(tmp_path: Path) -> None:
    tree(tmp_path / "one")
    (tmp_path / "two.tar").write_bytes(packed())
    (tmp_path / "p1.txt.gz").write_bytes(gzip.compress(b"part one"))
    (tmp_path / "p2.txt").write_bytes(b"part two")
    corpus = build(
        tmp_path / "1", [str(tmp_path / "one"), str(tmp_path / "two.tar"), str(tmp_path / "p*")]
    )
    expected = {f"{top}/{name}": text for top in ("one", "two.tar") for name, text in TEXTS.items()}
    assert documents(corpus) == {**expected, "p*/p1.txt": b"part one", "p*/p2.txt": b"part two"}
    glob = build(tmp_path / "2", tmp_path / "**" / "*.txt", include=["*.txt"])
    assert set(documents(glob)) == {"one/a.txt", "one/b/c.txt", "one/.e.txt", "p2.txt"}


def test_include_holds_for_files_and_compressed_files_too(tmp_path: Path) -> None:
    for name in ("a.txt", "b.md", "c.md"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(name.encode() * 9))
    corpus = build(tmp_path / "root", tmp_path / "*.gz", include=["*.md"], exclude=["c*"])
    assert set(documents(corpus)) == {"b.md"}
    with pytest.raises(InputError, match="no document"):
        build(tmp_path / "root", tmp_path / "a.txt.gz", include=["*.md"])


def test_two_documents_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"plain")
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(b"packed"))
    with pytest.raises(InputError, match=r"both have a document t\.txt"):
        build(tmp_path / "root", tmp_path / "t.txt*")
    for side in ("x", "y"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "same.tar").write_bytes(packed())
    with pytest.raises(InputError, match=r"several sources are called same\.tar"):
        build(tmp_path / "root", [str(tmp_path / side / "same.tar") for side in ("x", "y")])


def test_a_file_may_have_wildcards_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "[x] y?.txt").write_bytes(b"a name")
    assert documents(build(tmp_path / "root", tmp_path / "[x] y?.txt", val=0.0, test=0.0)) == {
        "[x] y?.txt": b"a name"
    }


@pytest.mark.parametrize("name", ["t.txt", "t.txt.gz", "t.zip"])
def test_the_expected_text_is_checked_however_it_is_packed(tmp_path: Path, name: str) -> None:
    text = b"exactly this"
    data = {"t.txt": text, "t.txt.gz": gzip.compress(text), "t.zip": zipped({"t.txt": text})}[name]
    (tmp_path / name).write_bytes(data)
    md5 = "f6e2edbd6bf9109378dbaf75c8dcdc09"
    corpus = build(
        tmp_path / "1", tmp_path / name, expect_bytes=12, expect_md5=md5, val=0.0, test=0.0
    )
    assert decoded(corpus, "train") == text
    for wrong in ({"expect_bytes": 13}, {"expect_md5": md5[::-1]}):
        with pytest.raises(InputError, match="is not the text this recipe expects"):
            build(tmp_path / "2", tmp_path / name, **wrong)
    with pytest.raises(InputError, match="one document"):
        build(tmp_path / "2", tree(tmp_path / "tree"), expect_bytes=12)


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str) -> None:
        raise PermissionError(13, "Permission denied", url)

    tree(tmp_path / "tree")
    monkeypatch.setattr(
        storage, "open_read", refuse
    )  # the tests may run as root, whom nothing is refused
    with pytest.raises(InputError, match=r"cannot read source .*tree.*Permission denied"):
        build(tmp_path / "root", tmp_path / "tree")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.tar", (None, "tar")),
        ("a.tar.gz", ("gzip", "tar")),
        ("a.tgz", ("gzip", "tar")),
        ("a.tar.bz2", ("bz2", "tar")),
        ("a.tbz2", ("bz2", "tar")),
        ("a.tar.xz", ("xz", "tar")),
        ("a.txz", ("xz", "tar")),
        ("a.tar.zst", ("zstd", "tar")),
        ("a.tzst", ("zstd", "tar")),
        ("a.zip", (None, "zip")),
        ("a.txt.gz", ("gzip", None)),
        ("a.bz2", ("bz2", None)),
        ("a.xz", ("xz", None)),
        ("a.zst", ("zstd", None)),
        ("a.ZIP", (None, "zip")),
        ("A.Tar.GZ", ("gzip", "tar")),
        ("A.TXT.GZ", ("gzip", None)),
        ("a.tar.lzma", ("lzma", "tar")),
        ("a.tlz", ("lzma", "tar")),
        ("a.lzma", ("lzma", None)),
        ("a.7z", (None, None)),
        ("a.txt", (None, None)),
        ("a.tar.txt", (None, None)),
        ("zip", (None, None)),
        ("a.zip/b", (None, None)),
    ],
)
def test_a_kind_is_told_by_the_ending(path: str, kind: tuple[str | None, str | None]) -> None:
    assert kind_of(path) == kind


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/a/b.txt", "b.txt"),
        ("/a/b/", "b"),
        ("https://x/b.zip?c=d", "b.zip"),
        ("zip://a/m::https://x/b.zip", "m"),
        ("pystdlib:", "pystdlib"),
        ("s3://bucket", "bucket"),
        ("/", ""),
    ],
)
def test_a_source_is_called_by_its_last_name(url: str, name: str) -> None:
    assert stem(url) == name


def test_a_tree_is_listed_in_order_without_links(tmp_path: Path) -> None:
    folder = tree(tmp_path / "tree")
    (folder / "link").symlink_to("a.txt")
    (folder / "folder").symlink_to("b")
    listing = list_source(str(folder), corpus_config())
    expected = [
        SourceFile(name, str(folder / name), len(TEXTS[name]), state_of(folder / name))
        for name in (".e.txt", "a.txt", "b/c.txt", "b/d.md")
    ]
    assert listing.files == expected
    assert sorted(listing.skips, key=lambda skip: skip.path) == [
        Skip("folder", "link"),
        Skip("link", "link"),
    ]
    assert (listing.streams, listing.driver_only) == ([], False)
    some = list_source(str(folder), corpus_config(include=["*.txt", "link"], exclude=["a*"]))
    assert [file.path for file in some.files] == [".e.txt", "b/c.txt"]
    assert some.skips == [Skip("link", "link")]
    several = list_source(str(folder), corpus_config(source=[str(folder), "other"]))
    assert several.files[0].path == "tree/.e.txt"


def state_of(path: Path) -> str:
    return f"mtime:{path.stat().st_mtime_ns}"


def test_a_file_is_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"text")
    (file,) = list_source(str(path), corpus_config()).files
    assert (file.path, file.size, file.within) == ("t.txt", 4, "")
    assert file.state.startswith("mtime:")
    assert list_source(str(path), corpus_config(exclude=["t*"])) == Listing()
    packed_path = tmp_path / "t.txt.gz"
    packed_path.write_bytes(gzip.compress(b"text"))
    listing = list_source(str(packed_path), corpus_config())
    assert [file.path for file in listing.streams] == ["t.txt"]
    assert listing.files == []


def test_a_remote_tree_is_listed_too() -> None:
    memory = fsspec.filesystem("memory")
    for name, text in TEXTS.items():
        memory.pipe_file(f"/top/{name}", text)
    listing = list_source("memory://top", corpus_config(include=["*.txt"]))
    assert [(file.path, file.url, file.size) for file in listing.files] == [
        (".e.txt", "memory:///top/.e.txt", 140),
        ("a.txt", "memory:///top/a.txt", 540),
        ("b/c.txt", "memory:///top/b/c.txt", 420),
    ]
    whole = list_source("memory://top/*", corpus_config())
    assert [file.path for file in whole.files] == [".e.txt", "a.txt"]
    memory.store.clear()


def test_this_interpreters_library_is_a_source() -> None:
    listing = list_source("pystdlib:", corpus_config(include=["enum.py"]))
    assert "enum.py" in [file.path for file in listing.files]
    assert listing.driver_only


def test_listings_add_up() -> None:
    one = Listing([SourceFile("a", "/a", 1)], [], [Skip("s", "link")])
    other = Listing([SourceFile("b", "/b", 1)], [SourceFile("t", "/t", 1)], [Skip("u", "x")], True)
    whole = Listing()
    whole.add(one)
    assert not whole.driver_only
    whole.add(other)
    assert [file.path for file in whole.files + whole.streams] == ["a", "b", "t"]
    assert [skip.path for skip in whole.skips] == ["s", "u"]
    assert whole.driver_only
    whole.add(one)
    assert whole.driver_only


def test_what_is_not_there_is_an_error_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"{tmp_path}/nowhere"
    with pytest.raises(InputError, match=rf"^source {nowhere} does not exist; give another --sour"):
        list_source(nowhere, corpus_config())
    with pytest.raises(InputError, match=r"^no file matches source .*/x\*; give another --source"):
        list_source(f"{tmp_path}/x*", corpus_config())
    with pytest.raises(InputError, match=r"does not end as a tar archive does; tar:// cannot look"):
        list_source(f"tar://a::{tmp_path}/x.zip", corpus_config())

    def refuse(url: str) -> None:
        raise PermissionError("not you")

    monkeypatch.setattr(storage, "filesystem", refuse)
    message = rf"^cannot read source {nowhere}: PermissionError: not you\. Check the URL and its"
    with pytest.raises(InputError, match=message):
        list_source(nowhere, corpus_config())


def test_a_member_is_picked_out_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(zipped())
    (file,) = list_source(f"zip://b/c.txt::{path}", corpus_config()).streams
    assert (file.path, file.within, file.size) == ("", "b/c.txt", path.stat().st_size)
    assert file.state.startswith("mtime:")


def test_a_web_server_that_cannot_be_reached_is_not_called_absent() -> None:
    with pytest.raises(InputError, match=r"^source http://127\.0\.0\.1:9/x\.txt cannot be had: "):
        list_source("http://127.0.0.1:9/x.txt", corpus_config())


def test_two_files_that_become_one_document_are_refused_by_both_names(tmp_path: Path) -> None:
    folder = tree(tmp_path / "src", {"a/x.txt": b"one", "b/x.txt": b"two"})
    for chunk_bytes in (1024, 16 << 20):
        with pytest.raises(
            InputError, match=r"a/x\.txt and .*b/x\.txt both become document x\.txt"
        ):
            build(tmp_path / "root", folder, strip_prefix="*/", chunk_bytes=chunk_bytes)
    with pytest.raises(InputError, match=r"a/x\.txt and .*b/x\.txt both become document x\.txt"):
        build(tmp_path / "root", f"{folder}/*/x.txt", strip_prefix="*/")


@pytest.mark.parametrize("ending", ["tar", "zip"])
@pytest.mark.parametrize(
    ("one", "other", "shape"),
    [
        ("a/x.txt", "b/x.txt", {"strip_prefix": "*/"}),
        ("../a.txt", "a.txt", {}),
    ],
)
def test_two_members_that_become_one_document_are_refused_by_both_names(
    tmp_path: Path, ending: str, one: str, other: str, shape: dict[str, Any]
) -> None:
    path = tmp_path / f"x.{ending}"
    pack = zipped if ending == "zip" else packed
    path.write_bytes(pack({one: b"first", other: b"second"}))
    with pytest.raises(InputError) as caught:
        build(tmp_path / "root", path, **shape)
    assert f"members {one} and {other} of source {path} both become document" in str(caught.value)


def test_a_backslash_of_windows_is_a_slash(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("b\\c", "b/c"):
            info = zipfile.ZipInfo(name)
            info.create_system = 0
            archive.writestr(info, name)
    with pytest.raises(InputError, match=r"members b\\c and b/c of .* both become document b/c"):
        build(tmp_path / "root", path)
    path.write_bytes(zipped({"b\\c": b"a letter of the name", "b/c": b"a folder"}))
    assert set(documents(build(tmp_path / "root", path))) == {"b\\c", "b/c"}


def test_one_member_that_comes_twice_counts_the_last_time(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(packed({"a.txt": b"first", "./a.txt": b"second", "/b.txt": b"b"}))
    assert documents(build(tmp_path / "root", path)) == {"a.txt": b"second", "b.txt": b"b"}


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_damage_to_a_second_stream_is_not_the_end(tmp_path: Path, ending: str, place: int) -> None:
    text = b"one two three " * 4000
    path = tmp_path / f"t.txt.{ending}"
    second = bytearray(COMPRESS[ending](text))
    second[place] ^= 0xFF
    path.write_bytes(COMPRESS[ending](text) + second)
    with pytest.raises(InputError, match=rf"t\.txt\.{ending}"):
        build(tmp_path / "root", path)


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_what_stands_behind_the_end_of_a_tar_is_not_dropped(tmp_path: Path, ending: str) -> None:
    def compressed(data: bytes) -> bytes:
        return data if ending == "tar" else COMPRESS[ending.removeprefix("tar.")](data)

    path = tmp_path / f"x.{ending}"
    whole = packed({"a.txt": b"a" * 512, "b.txt": b"b" * 512, "c.txt": b"c" * 512})
    zeroed = whole[:1024] + bytes(512) + whole[1536:]
    joined = compressed(whole) + compressed(packed({"d.txt": b"d"}))
    for data, place in ((compressed(zeroed), 1536), (joined, len(whole))):
        path.write_bytes(data)
        message = rf"x\.{ending}.*more behind its end mark, at byte {place}"
        with pytest.raises(InputError, match=message):
            build(tmp_path / "root", path)
    # Empty blocks fill up a tape's record.
    path.write_bytes(compressed(whole + bytes(3 << 20)))
    assert len(documents(build(tmp_path / "root", path))) == 3


@pytest.mark.parametrize("name", ["x.ZIP", "x.TAR.GZ", "x.TGZ"])
def test_endings_in_capitals_are_known(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(zipped() if name == "x.ZIP" else gzip.compress(packed()))
    assert documents(build(tmp_path / "root", path)) == TEXTS


def test_an_archive_that_nobody_can_open_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.7z"
    path.write_bytes(b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(range(256)) * 9)
    build(tmp_path / "root", path)
    assert any("x.7z" in line and "not look like text" in line for line in caplog.messages)


@pytest.mark.parametrize("pattern", ["*", "**", "**/*", "s*", "[ps]*"])
def test_globs_list_what_they_skip(tmp_path: Path, pattern: str) -> None:
    folder = tree(tmp_path / "src", {"s.txt": b"text" * 9, "sub/s.txt": b"more" * 9})
    (folder / "soft").symlink_to("s.txt")
    (folder / "sub" / "soft").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    listing = list_source(f"{folder}/{pattern}", corpus_config(exclude=["never"]))
    deep = "**" in pattern
    links = ["soft", *(["sub/soft"] if deep else [])]
    pipes = [] if pattern == "s*" else [Skip("pipe", "not a regular file")]
    assert [skip for skip in listing.skips if skip.reason == "link"] == [
        Skip(path, "link") for path in links
    ]
    assert [skip for skip in listing.skips if skip.reason != "link"] == pipes
    files = [file.path for file in listing.files]
    assert files == ["s.txt", *(["sub/s.txt"] if deep else [])]
    if pattern == "**":
        whole = list_source(str(folder), corpus_config())
        assert sorted(listing.skips, key=str) == sorted(whole.skips, key=str)
        assert not list_source(f"{folder}/**", corpus_config(exclude=["soft", "pipe"])).skips


def test_a_glob_looks_no_deeper_than_its_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree(tmp_path / "src", {"a/b/c/x.txt": b"deep", "a/x.txt": b"flat", "x.txt": b"x"})
    seen = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (seen.append(path), real(path))[1])
    for pattern, names in (("*.txt", ["x.txt"]), ("*/x.txt", ["a/x.txt"])):
        found = list_source(f"{folder}/{pattern}", corpus_config()).files
        assert [file.path for file in found] == names
    assert not [path for path in seen if str(path).rstrip("/").endswith("/b")]


@pytest.mark.parametrize("pattern", ["", "/**", "/**/*.txt", "/*/*.txt"])
def test_a_folder_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    folder = tree(tmp_path / "src", {"a/x.txt": b"text", "locked/x.txt": b"text"})
    real = os.scandir

    def scandir(path: Any) -> Any:  # root may read everything
        if str(path).rstrip("/").endswith("/locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"cannot read source .*Permission denied.*locked"):
        list_source(f"{folder}{pattern}", corpus_config())


@pytest.mark.parametrize("name", ["pipe", "pipe.tar", "pipe.gz"])
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / f"link-{name}").symlink_to(name)
    for url in (tmp_path / name, tmp_path / f"link-{name}", "/dev/zero"):
        with pytest.raises(InputError, match="neither a file nor a folder but a pipe, a socket or"):
            list_source(str(url), corpus_config())
    os.mkfifo(tmp_path / "x.zip")
    with pytest.raises(InputError, match=r"x\.zip is neither"):
        list_source(f"zip://a::{tmp_path}/x.zip", corpus_config())
