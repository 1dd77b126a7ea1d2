"""What a manifest says is read and written without loss, and refused where it is not whole."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora.manifest_data import (
    FileEntry,
    Manifest,
    ShardEntry,
    SplitEntry,
    TextBytes,
    digest_of_documents,
    fingerprint,
    identity,
    version_name,
)
from pipeline.corpora.splits import Division, SplitRule
from pipeline.corpora.suspects import Suspects
from pipeline.corpora.vocab import Vocab
from pipeline.errors import InputError

from .conftest import build

VALUE: dict[str, Any] = {
    "format": 3,
    "corpus": {"name": "x", "val": 0.05, "nfc": False},
    "vocab": {"format": 1, "unit": "byte", "symbols": [None, 97]},
    "unicode": "15.0.0",
    "documents_sha256": "d" * 64,
    "skipped_sha256": "e" * 64,
    "name": "x",
    "version": "v",
    "fingerprint": "f" * 64,
    "order": "hash",
    "split": "block",
    "block_bytes": 2048,
    "suspects": {"documents": 1, "named": [["a.gz", "gzip"]]},
    "documents": 3,
    "skipped": 1,
    "bytes": {"source": 15, "skipped": 2, "normalised_away": 3, "text": 10, "separators": 4},
    "splits": {
        "train": {
            "tokens": 9,
            "bytes": 8,
            "shards": [
                {
                    "file": "train-00000.arrow",
                    "tokens": 7,
                    "text_bytes": 6,
                    "bytes": 500,
                    "sha256": "a" * 64,
                    "unknown": {"file": "u.arrow", "bytes": 5, "sha256": "b" * 64},
                },
                {
                    "file": "train-00001.arrow",
                    "tokens": 2,
                    "text_bytes": 2,
                    "bytes": 400,
                    "sha256": "c" * 64,
                },
            ],
        },
        "val": {"tokens": 0, "bytes": 0, "shards": []},
        "test": {"tokens": 0, "bytes": 0, "shards": []},
    },
    "files": {"documents.arrow": {"bytes": 11, "sha256": "9" * 64}},
    "first_tokens": [[0, 2], [1, 1]],
}


def test_a_manifest_is_read_by_name() -> None:
    manifest = Manifest.from_json(VALUE)
    assert (manifest.format, manifest.corpus, manifest.vocab) == (
        3,
        VALUE["corpus"],
        VALUE["vocab"],
    )
    assert manifest.unicode == "15.0.0"
    assert (manifest.documents_sha256, manifest.skipped_sha256) == ("d" * 64, "e" * 64)
    assert (manifest.name, manifest.version, manifest.fingerprint) == ("x", "v", "f" * 64)
    assert (manifest.order, manifest.split) == ("hash", "block")
    assert (manifest.documents, manifest.skipped) == (3, 1)
    assert manifest.bytes == TextBytes(15, 2, 3, 10, 4)
    unknown = FileEntry("u.arrow", 5, "b" * 64)
    shards = (
        ShardEntry("train-00000.arrow", 500, "a" * 64, 7, 6, unknown),
        ShardEntry("train-00001.arrow", 400, "c" * 64, 2, 2),
    )
    empty = SplitEntry(0, 0, ())
    assert manifest.splits == {"train": SplitEntry(9, 8, shards), "val": empty, "test": empty}
    assert manifest.files == {"documents.arrow": FileEntry("documents.arrow", 11, "9" * 64)}
    assert manifest.first_tokens == ((0, 2), (1, 1))


def test_a_manifest_is_written_as_it_was_read() -> None:
    assert Manifest.from_json(VALUE).to_json() == VALUE
    assert list(Manifest.from_json(VALUE).splits) == list(VALUE["splits"])


def test_a_published_manifest_is_written_with_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"text, and rare: xyz" + b"text" * 9)
    corpus = build(tmp_path, tmp_path / "t.txt", min_count=3, shard_bytes=1024)
    data = Path(corpus.url, "manifest.json").read_bytes()
    written = Manifest.from_json(json.loads(data)).to_json()
    text = json.dumps(written, indent=2, ensure_ascii=False, sort_keys=True)
    assert f"{text}\n".encode() == data


def test_a_manifest_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Manifest.from_json(VALUE).name = "y"  # type: ignore[misc]


def paths(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in a manifest that is not what a person chose to call something."""
    found = [above] if above else []
    if isinstance(value, dict) and above[:1] not in (("corpus",), ("vocab",)):
        found += [path for key, each in value.items() for path in paths(each, (*above, key))]
    if isinstance(value, list) and above[:1] not in (("corpus",), ("vocab",)):
        found += [path for n, each in enumerate(value) for path in paths(each, (*above, n))]
    return found


# Without these a manifest has a shard, an unknown file, a file or a name less; nothing is amiss.
MAY_LACK = [
    ("splits", "train", "shards", 0),
    ("splits", "train", "shards", 1),
    ("splits", "train", "shards", 0, "unknown"),
    ("files", "documents.arrow"),
    ("first_tokens", 0),
    ("first_tokens", 1),
    ("suspects", "named", 0),
]


@pytest.mark.parametrize("path", paths(VALUE), ids=str)
def test_a_missing_field_or_a_wrong_type_is_refused(path: tuple[Any, ...]) -> None:
    for wrong in ("missing", None, True, 1.5):
        value = copy.deepcopy(VALUE)
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        if wrong == "missing":
            if path in MAY_LACK:
                continue
            del parent[path[-1]]
        else:
            parent[path[-1]] = wrong
        with pytest.raises((KeyError, TypeError, ValueError, AttributeError)) as caught:
            Manifest.from_json(value)
        assert not isinstance(caught.value, InputError)


@pytest.mark.parametrize("value", [None, [], "text", {}, 2])
def test_what_is_no_manifest_is_refused(value: Any) -> None:
    with pytest.raises((KeyError, TypeError)):
        Manifest.from_json(value)


def test_the_wrong_value_is_named() -> None:
    with pytest.raises(TypeError, match=r"^True is not a whole number$"):
        Manifest.from_json({**VALUE, "documents": True})
    with pytest.raises(TypeError, match=r"^7 is not text$"):
        Manifest.from_json({**VALUE, "name": 7})
    with pytest.raises(TypeError, match=r"^\[\] is not an object$"):
        Manifest.from_json({**VALUE, "vocab": []})
    with pytest.raises(KeyError, match="val"):
        Manifest.from_json({**VALUE, "splits": {"train": VALUE["splits"]["train"]}})


def test_format_2_has_no_blocks() -> None:
    value = {key: VALUE[key] for key in VALUE if key not in ("block_bytes", "suspects")}
    with pytest.raises(KeyError, match="block_bytes"):
        Manifest.from_json(value)
    older = {**value, "format": 2, "split": "document"}
    manifest = Manifest.from_json(older)
    assert manifest.to_json() == older
    assert (manifest.rule, manifest.suspects) == (SplitRule("document"), Suspects())
    assert Manifest.from_json(VALUE).rule == SplitRule("block", 2048)


def test_a_manifest_says_how_it_is_divided() -> None:
    settings = {
        "seed": 1, "train": "rest", "val": 0.1, "test": 0.2, "unit": "byte", "nfc": True,
        "chunk_bytes": 5, "newlines": "keep", "decoding": "replace",
    }  # fmt: skip
    manifest = Manifest.from_json({**VALUE, "corpus": settings})
    assert manifest.division == Division(
        split="block", seed=1, train="rest", val=0.1, test=0.2, block_bytes=2048, chunk_bytes=5,
        newlines="keep", nfc=True, replaces=True,
    )  # fmt: skip


def test_the_fingerprint_is_of_the_identity_alone() -> None:
    who = identity({"name": "x"}, Vocab("byte", [97]), "d", b"skipped", "15.0.0")
    assert who.to_json() == {
        "format": 3,
        "corpus": {"name": "x"},
        "vocab": {"format": 1, "unit": "byte", "symbols": [97]},
        "unicode": "15.0.0",
        "documents_sha256": "d",
        "skipped_sha256": hashlib.sha256(b"skipped").hexdigest(),
    }
    text = json.dumps(who.to_json(), sort_keys=True)
    mark = hashlib.sha256(text.encode()).hexdigest()
    assert fingerprint(who.to_json()) == mark
    assert fingerprint({**VALUE, **who.to_json()}) == mark
    assert version_name(mark) == mark[:12]
    for field in who.to_json():
        changed = {**who.to_json(), field: "other"}
        assert fingerprint(changed) != mark
        del changed[field]
        with pytest.raises(KeyError, match=field):
            fingerprint(changed)


def test_documents_are_digested_in_order_of_path() -> None:
    digest = bytes(range(32))
    expected = hashlib.sha256(
        b"\0\0\0\x01a" + digest + b"\0\0\x01\x00" + b"b" * 256 + digest
    ).hexdigest()
    pairs = [(b"b" * 256, digest), (b"a", digest)]
    assert digest_of_documents(pairs) == digest_of_documents(iter(pairs[::-1])) == expected
    # The path's length keeps it apart from what follows.
    assert digest_of_documents([(b"ab", b"c")]) != digest_of_documents([(b"a", b"bc")])


def test_only_manifests_of_streams_have_format_4() -> None:
    vocab = Vocab("byte", (97,))
    formats = [
        identity({"split": split}, vocab, "", b"", "").format
        for split in ("auto", "block", "document", "tail", "interleaved")
    ]
    assert formats == [3, 3, 3, 3, 4]
    settings = {
        "split": "interleaved", "streams": 2, "stream_seq_len": 3, "seed": 1, "train": "rest",
        "val": 0.5, "test": 0.0,
    }  # fmt: skip
    value = {**VALUE, "format": 4, "split": "interleaved", "block_bytes": 0, "corpus": settings}
    manifest = Manifest.from_json(value)
    assert manifest.to_json() == value
    assert manifest.rule == SplitRule("interleaved", 0, 2, 3)
    assert manifest.division.streams == 2
    assert Manifest.from_json(VALUE).streams is None
