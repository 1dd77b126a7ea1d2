"""Members of archives have the names and contents that a tree has."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from pipeline.corpora.members import HardLink, HardLinks, plain_name, zip_path
from pipeline.corpora.selection import Selection
from pipeline.corpora.sources import Skip, SourceFile
from pipeline.corpora.streams import open_stream

from .conftest import build, corpus_config, documents


def member(name: bytes, *, system: int, flags: int = 0, extra: bytes = b"") -> zipfile.ZipInfo:
    """A zip's member as Python gives it."""
    info = zipfile.ZipInfo(name.decode("utf-8" if flags else "cp437"))
    info.create_system = system
    info.flag_bits = flags
    info.extra = extra
    return info


def unicode_extra(name: str, raw: bytes) -> bytes:
    data = struct.pack("<BL", 1, zlib.crc32(raw)) + name.encode()
    other = struct.pack("<HH", 0x5455, 1) + b"x"
    return other + struct.pack("<HH", 0x7075, len(data)) + data


@pytest.mark.parametrize(
    ("info", "path"),
    [
        (member("日/é".encode(), system=3, flags=0x800), "日/é"),
        (member("日/é".encode(), system=3), "日/é"),
        (member("日/é".encode(), system=0), "日/é"),
        (member(b"\xe9", system=3), "\udce9"),  # as a tree gives it
        (member(b"\x82", system=0), "é"),  # by the DOS code page
        (member(b"a\\b", system=3), "a\\b"),
        (member(b"a\\b", system=19), "a\\b"),
        (member(b"a\\b", system=0), "a/b"),
        (member(b"a\\b", system=10, flags=0x800), "a/b"),
        (member(b"?", system=0, extra=unicode_extra("日", b"?")), "日"),
        (member(b"renamed", system=0, extra=unicode_extra("日", b"?")), "renamed"),
        (member(b"x", system=0, extra=b"\x75\x70\xff"), "x"),
        (member(b"x", system=0, extra=b"\x75\x70\x02\x00zz"), "x"),
    ],
)
def test_a_zip_name_is_read_as_it_was_meant(info: zipfile.ZipInfo, path: str) -> None:
    assert zip_path(info) == path


def test_a_plain_name_is_that_of_the_unpacked_file() -> None:
    assert plain_name("./a//b/./c") == plain_name("/a/b/c") == "a/b/c"


def linked_tree(folder: Path) -> Path:
    """A tree with hard links, backslashes and names of several kinds."""
    folder.mkdir()
    texts = {b"a.txt": b"alpha" * 9, b"b\\c.txt": b"beta" * 9, "日é.txt".encode(): b"gamma" * 9}
    texts[b"\xe9.txt"] = b"delta" * 9
    for name, text in texts.items():
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_bytes(text)
    for link in ("z.txt", "zz.txt"):
        os.link(folder / "a.txt", folder / link)
    return folder


def packed_tar(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        tar.add(folder, arcname=".")
        assert sum(info.islnk() for info in tar.getmembers()) == 2
    return path


def test_tree_and_tar_are_one_version(tmp_path: Path) -> None:
    folder = linked_tree(tmp_path / "tree")
    tree = build(tmp_path / "1", folder)
    tar = build(tmp_path / "2", packed_tar(folder, tmp_path / "tree.tar"))
    assert tree.manifest.documents == 6
    assert (tar.version, tar.manifest.skipped) == (tree.version, 0)


def test_a_zip_without_flags_has_the_names_of_the_tree(tmp_path: Path) -> None:
    texts = {b"b\\c.txt12": b"beta" * 9, "é日.tx".encode(): b"gamma" * 9, b"\xe9.txt567": b"d" * 9}
    folder = tmp_path / "tree"
    folder.mkdir()
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for number, (name, text) in enumerate(texts.items()):
            Path(os.fsdecode(bytes(folder) + b"/" + name)).write_bytes(text)
            archive.writestr(f"name{number:04}"[: len(name)].ljust(len(name), "_"), text)
    data = sink.getvalue()
    for number, name in enumerate(texts):
        # Names of one length, so that no offset moves.
        data = data.replace(f"name{number:04}"[: len(name)].ljust(len(name), "_").encode(), name)
    (tmp_path / "tree.zip").write_bytes(data)
    tree = build(tmp_path / "1", folder)
    assert build(tmp_path / "2", tmp_path / "tree.zip").version == tree.version


def tar_of(path: Path, *members: tuple[str, str | tuple[bytes, str]]) -> Path:
    """A tar of (name, text), or of (name, (type, what it links to))."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            data = b""
            if isinstance(content, str):
                data = content.encode()
                info.size = len(data)
            else:
                info.type, info.linkname = content
            tar.addfile(info, io.BytesIO(data))
    return path


def hard(target: str) -> tuple[bytes, str]:
    return tarfile.LNKTYPE, target


def test_hard_links_have_what_unpacking_would_give_them(tmp_path: Path) -> None:
    path = tar_of(
        tmp_path / "x.tar",
        ("a", "first"),
        ("./b", hard("a")),
        ("c", hard("./b")),  # a link to a link
        ("a", "second"),  # b and c keep what they had
        ("d", hard("a")),
        ("e", hard("a")),
        ("e", "its own"),  # comes again, as a file
        ("unwanted.bin", "from elsewhere"),
        ("f", hard("unwanted.bin")),
    )
    found = build(tmp_path, path, exclude=["*.bin"])
    assert documents(found) == {
        "a": b"second",
        "b": b"first",
        "c": b"first",
        "d": b"second",
        "e": b"its own",
        "f": b"from elsewhere",
    }


def test_a_hard_link_to_no_text_is_left_out(tmp_path: Path) -> None:
    path = tar_of(
        tmp_path / "x.tar",
        ("soft", (tarfile.SYMTYPE, "elsewhere")),
        ("pipe", (tarfile.FIFOTYPE, "")),
        ("a", hard("soft")),
        ("b", hard("pipe")),
        ("c", hard("nothing")),
        ("d", hard("behind")),
        ("behind", "text"),
    )
    selection = Selection(corpus_config(include=["a", "b", "c", "d"]))
    found = dict(open_stream(SourceFile("", str(path), 0), selection))
    assert found == {
        "a": Skip("a", "link"),
        "b": Skip("b", "not a regular file"),
        "c": Skip("c", "link"),
        "d": Skip("d", "link"),
    }


def test_links_that_count_in_the_end() -> None:
    links = HardLinks()
    assert not links
    links.add_link("./b", "a", None, 1)
    assert not links  # b itself is not wanted
    links.add_link("c", "b", "doc", 2)
    assert list(links) == [HardLink("doc", "a", 2)]
    links.add_other("b", None)
    links.add_link("d", "b", "other", 4)
    assert list(links) == [HardLink("doc", "a", 2), HardLink("other", "b", 4)]
    links.add_other("c", "doc")
    assert list(links) == [HardLink("other", "b", 4)]
