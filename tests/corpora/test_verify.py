"""A published version that is not what it was published as is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.corpora.manifest import open_version
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
