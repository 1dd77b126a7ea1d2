"""Whether a version is whole, by names and sizes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.corpora.whole import lacking, named_latest, newest_whole, whole_version
from pipeline.errors import StoreError

from .conftest import build


@pytest.fixture
def published(tmp_path: Path) -> Corpus:
    """A version with a file of unknown symbols beside its shard."""
    source = tmp_path / "t.txt"
    source.write_bytes(b"text text text z" * 9 + b"q")
    return build(tmp_path, source, min_count=2, val=0.0, test=0.0)


def test_every_file_of_the_manifest_is_asked_for(published: Corpus) -> None:
    assert lacking(published.url, published.manifest) == []
    files = sorted(path.name for path in Path(published.url).iterdir())
    assert len(files) == 5
    files.remove("manifest.json")
    for name in files:
        path = Path(published.url, name)
        data = path.read_bytes()
        for harm in (path.unlink, lambda path=path, data=data: path.write_bytes(data + b"x")):
            harm()
            assert lacking(published.url, published.manifest) == [name]
            assert whole_version(published.url) is None
        path.write_bytes(data)
    assert whole_version(published.url) == published


def test_what_is_missing_is_said(published: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    os.unlink(f"{published.url}/skipped.jsonl")
    assert whole_version(published.url) is None
    line = f"{published.url} is not whole: skipped.jsonl missing or of another size"
    assert caplog.messages == [line]


def test_the_newest_is_found_by_latest(published: Corpus, tmp_path: Path) -> None:
    latest = tmp_path / "corpora" / "c" / "LATEST"
    assert newest_whole(str(tmp_path), "c") == published
    for text in ("gone", "../x"):
        latest.write_text(text)
        assert newest_whole(str(tmp_path), "c") is None
    latest.unlink()
    assert named_latest(str(tmp_path), "c") is None
    assert newest_whole(str(tmp_path), "c") is None


def test_a_store_that_is_away_says_nothing_about_a_version(
    published: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(url: str) -> None:
        raise StoreError("away")

    monkeypatch.setattr(storage, "read_json", away)
    with pytest.raises(StoreError):
        whole_version(published.url)
