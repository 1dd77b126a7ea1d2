"""What sources hold, compared with what a build reads."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora import survey as module
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.look import TextLook
from pipeline.corpora.manifest import open_corpus
from pipeline.corpora.survey import survey
from pipeline.errors import InputError


def config(source: object, **changes: Any) -> CorpusConfig:
    return CorpusConfig(**{"name": "c", "source": str(source), "test": 0.0, "val": 0.2, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four documents of 60 bytes or so, one of them not ASCII, a link, and what is not wanted."""
    folder = tmp_path / "src"
    (folder / "sub").mkdir(parents=True)
    for name, text in (("a.py", "a" * 50), ("b.py", "bé" * 20), ("sub/c.py", "c\n" * 30)):
        (folder / name).write_text(text)
    (folder / "d.py").write_text("d" * 60)
    (folder / "no.txt").write_text("not wanted")
    (folder / "link.py").symlink_to(folder / "a.py")
    return folder


def packed(folder: Path, kind: str) -> Path:
    path = folder.parent / f"all.{kind}"
    names = ["a.py", "b.py", "sub/c.py", "d.py", "no.txt"]
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.write(folder / name, name)
        return path
    with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
        for name in names:
            archive.add(folder / name, name)
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
@pytest.mark.parametrize("unit", ["byte", "char"])
def test_a_small_source_is_surveyed_as_it_is_built(
    folder: Path, tmp_path: Path, kind: str, unit: str
) -> None:
    source = folder if kind == "folder" else packed(folder, kind)
    settings = config(source, include=["*.py"], separator="\\n", unit=unit)
    (found,), look = survey(settings)
    built = build_corpus(settings, str(tmp_path / "root"))
    about = open_corpus(str(tmp_path / "root"), "c")
    assert found.documents == look.documents == built.documents == 4
    assert found.bytes == look.source_bytes == built.bytes.source
    assert found.excluded == 1
    assert found.skipped == (1 if kind == "folder" else 0)
    assert found.names == ("a.py", "b.py", "d.py", "sub/c.py")[:4] or kind != "folder"
    assert found.packed_bytes == (0 if kind == "folder" else source.stat().st_size)
    assert look.tokens + 4 == sum(built.tokens.values())
    assert look.vocab_size() == built.vocab_size == len(about.vocab)
    assert look.whole
    assert found.whole


def test_kinds_are_said_in_words(folder: Path) -> None:
    assert survey(config(folder))[0][0].kind == "files"
    assert survey(config(packed(folder, "zip")))[0][0].kind == "zip"
    assert survey(config(packed(folder, "tar.gz")))[0][0].kind == "tar, gzip"
    (folder.parent / "one.txt.gz").write_bytes(gzip.compress(b"text\n" * 100))
    (found,), _ = survey(config(folder.parent / "one.txt.gz"))
    assert (found.kind, found.documents, found.bytes) == ("file, gzip", 1, 500)
    assert found.names == ("one.txt",)


def test_a_large_archive_is_extrapolated_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_PACKED_BYTES", 2 << 20)
    for at in range(40):
        (tmp_path / f"{at}.txt").write_bytes(bytes([97 + at % 26]) * (128 << 10))
    path = tmp_path / "all.tar"
    with tarfile.open(path, "w") as archive:
        for at in range(40):
            archive.add(tmp_path / f"{at}.txt", f"{at}.txt")
    (found,), look = survey(config(path))
    assert not found.whole
    assert not look.whole
    # tarfile reads a megabyte ahead of the members that it has given out.
    assert 20 <= found.documents <= 60
    assert found.bytes == pytest.approx(found.documents * (128 << 10), rel=0.05)


def test_a_large_folder_is_looked_at_here_and_there(tmp_path: Path) -> None:
    for at in range(10):
        (tmp_path / f"{at}.txt").write_bytes(b"ab" * 500)
    look = TextLook(config(tmp_path), budget=2000)
    files = module.list_source(str(tmp_path), look.config).files
    module._look_at_files(files, look)
    assert (look.documents, look.source_bytes, look.whole) == (2, 2000, False)
    assert look.tokens_per_byte == 1.0
    assert look.counts == {97: 1000, 98: 1000}


def test_undecodable_text_is_refused_or_left_out_as_by_the_build(folder: Path) -> None:
    (folder / "e.py").write_bytes(b"good \xff")
    with pytest.raises(InputError) as refused:
        survey(config(folder, unit="char"))
    with pytest.raises(InputError) as built:
        build_corpus(config(folder, unit="char"), str(folder.parent / "root"))
    assert str(refused.value) == str(built.value)
    _, look = survey(config(folder, unit="char", decoding="skip"))
    assert (look.undecodable, look.documents) == (1, 5)


def test_an_encrypted_member_and_a_link_of_a_zip_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
        archive.writestr(link, "a.txt")
    (found,), _ = survey(config(path))
    assert (found.documents, found.skipped) == (1, 1)


def test_a_server_that_gives_no_parts_leaves_a_zip_unlisted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(folder, "zip")

    def no_parts(*given: Any) -> Any:
        raise InputError("cannot read source: no ranges")

    monkeypatch.setattr(module, "zip_directory", no_parts)
    with pytest.raises(InputError, match="no ranges"):
        survey(config(path))
    monkeypatch.setattr(module.storage, "is_local", lambda url: False)
    (found,), look = survey(config(path))
    assert (found.documents, found.bytes, found.whole) == (1, path.stat().st_size, False)
    assert (look.whole, look.source_bytes) == (False, 0)


def test_a_damaged_archive_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match=r"bad\.zip"):
        survey(config(tmp_path / "bad.zip"))
