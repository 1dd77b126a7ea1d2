"""Inserted text moves what is behind it to other blocks; appended text moves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.corpora.moved import moved_documents

from .conftest import build

LINES = b"".join(b"line %06d\n" % number for number in range(2000))


def built(root: Path, texts: dict[str, bytes], **changes: Any) -> Corpus:
    folder = root / "texts"
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_bytes(text)
    settings = {"split": "block", "val": 0.4, "test": 0.1, **changes}
    return build(root, folder, **settings)


@pytest.fixture
def old(tmp_path: Path) -> Corpus:
    return built(tmp_path / "old", {"a": LINES, "b": LINES, "c": b"short\n"})


def test_the_same_documents_have_not_moved(old: Corpus, tmp_path: Path) -> None:
    assert moved_documents(old, old) == []
    # Documents that come and go move nothing.
    new = built(tmp_path / "new", {"b": LINES, "d": LINES})
    assert moved_documents(old, new) == []


def test_appended_text_moves_nothing(old: Corpus, tmp_path: Path) -> None:
    new = built(tmp_path / "new", {"a": LINES + b"more\n" * 3000, "b": LINES})
    assert moved_documents(old, new) == []
    # What is cut off may leave what is left elsewhere, as far as this can tell.
    assert moved_documents(new, old) == [b"a"]


def test_inserted_text_moves_what_is_behind_it(old: Corpus, tmp_path: Path) -> None:
    new = built(
        tmp_path / "new", {"a": b"new\n" + LINES, "b": LINES[:9000] + b"new" + LINES[9000:]}
    )
    assert moved_documents(old, new) == [b"a", b"b"]


def test_a_document_of_one_block_stays_in_its_split(old: Corpus, tmp_path: Path) -> None:
    new = built(tmp_path / "new", {"a": LINES, "c": b"other\n"})
    assert moved_documents(old, new) == []


def test_unknown_symbols_are_compared_as_they_were(tmp_path: Path) -> None:
    """Both versions hide the letter that differs behind the unknown token."""
    old = built(tmp_path / "old", {"a": b"X" + LINES}, min_count=2)
    new = built(tmp_path / "new", {"a": b"Y" + LINES}, min_count=2)
    assert moved_documents(old, new) == [b"a"]
