"""A published version that is not what it was published as is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.corpora.manifest import Corpus, open_version
from pipeline.corpora.verify import verify
from pipeline.errors import DamagedError, InputError

from .conftest import build


def test_every_byte_of_every_file_counts(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(
        "some text, and a rare \u00e9".encode() * 3 + b"once: \xf0\x9d\x84\x9e"
    )
    corpus = build(
        tmp_path / "root", tmp_path / "t.txt", unit="char", min_count=2, val=0.2, test=0.0
    )
    files = [path for path in Path(corpus.url).iterdir() if path.name != "manifest.json"]
    assert {path.name for path in files} >= {
        "documents.arrow",
        "skipped.jsonl",
        "train-00000.arrow",
    }
    assert any("unknown" in path.name for path in files)
    assert verify(corpus) == sum(path.stat().st_size for path in files)
    for path in files:
        good = path.read_bytes()
        for bad in ([good[:-1], bytes([*good[:-1], good[-1] ^ 1])] if good else []) + [good + b"x"]:
            path.write_bytes(bad)
            with pytest.raises(DamagedError, match=path.name.replace(".", r"\.")):
                verify(corpus)
        path.unlink()
        with pytest.raises(DamagedError, match="is missing"):
            verify(corpus)
        path.write_bytes(good)


@pytest.mark.parametrize(
    "field", ["format", "vocab", "corpus", "unicode", "documents_sha256", "fingerprint", "version"]
)
def test_a_changed_manifest_is_always_refused(tmp_path: Path, field: str) -> None:
    (tmp_path / "t.txt").write_bytes(b"some text")
    corpus = build(tmp_path / "root", tmp_path / "t.txt", val=0.0, test=0.0)
    path = Path(corpus.url) / "manifest.json"
    manifest = json.loads(path.read_bytes())
    if field == "vocab":
        manifest["vocab"]["symbols"][0] = 1
    else:
        manifest[field] = 7
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"manifest\.json"):
        open_version(corpus.url)
    del manifest[field]
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"manifest\.json"):
        open_version(corpus.url)


def test_files_that_were_all_replaced_are_still_found_out(tmp_path: Path) -> None:
    """Digests that fit the files prove nothing: the fingerprint is of the documents."""
    for name, text in (("one", b"a text of some length"), ("two", b"a text of some lentgh")):
        (tmp_path / f"{name}.txt").write_bytes(text)
    settings = {"val": 0.0, "test": 0.0}
    one = build(tmp_path / "1", tmp_path / "one.txt", **settings)
    two = build(tmp_path / "2", tmp_path / "two.txt", **settings)
    forged = replace(two.manifest, documents_sha256=one.manifest.documents_sha256)
    with pytest.raises(
        DamagedError, match=r"documents\.arrow is not what the fingerprint was made"
    ):
        verify(Corpus(two.url, forged, two.vocab))
    train = two.manifest.splits["train"]
    more = replace(train, shards=(replace(train.shards[0], tokens=22),))
    forged = replace(two.manifest, splits={**two.manifest.splits, "train": more})
    with pytest.raises(DamagedError, match=r"train-00000\.arrow holds 21 uint8 tokens, not 22"):
        verify(Corpus(two.url, forged, two.vocab))
    assert verify(two) > 0


def test_a_document_that_a_split_cuts_counts_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "t.txt").write_bytes(b"a text of some length")
    corpus = build(tmp_path / "root", tmp_path / "t.txt", val=0.3, test=0.3)
    with caplog.at_level("INFO", "unreasonable"):
        verify(corpus)
    assert corpus.documents().num_rows == 3
    assert "5 files are what they were published as" in caplog.text
