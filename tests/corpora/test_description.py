"""What a version says of itself: documents.arrow, skipped.jsonl and the manifest."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest

from pipeline.corpora.description import (
    documents_bytes,
    documents_digest,
    manifest_of,
    skipped_bytes,
)
from pipeline.corpora.documents import Chunk, Document
from pipeline.corpora.layout import Layout, Placed, Shard
from pipeline.corpora.manifest_data import (
    FileEntry,
    ShardEntry,
    SplitEntry,
    TextBytes,
    digest_of_documents,
    fingerprint,
    identity,
)
from pipeline.corpora.sources import Skip
from pipeline.corpora.splits import SplitRule
from pipeline.corpora.suspects import Suspects
from pipeline.corpora.text import packed
from pipeline.corpora.vocab import Vocab

from .conftest import corpus_config

A = Document(
    b"a\xff",
    [
        Chunk(0, 0, 4, 4, 0, 7, packed(np.array([(0, 3)]))),
        Chunk(0, 4, 5, 5, 7, 5),
        Chunk(0, 9, 3, 3, 12, 4, packed(np.array([(0, 0), (1, 2)]))),
    ],
    b"A" * 32,
    ord("x"),
)
B = Document(b"b", [Chunk(1, 0, 2, 2, 0, 2)], b"B" * 32, ord("y"))
EMPTY = Document(b"c", [Chunk(1, 2, 0, 0, 0, 0)], b"C" * 32, -1)


def layout(*placed: Placed) -> Layout:
    shards = [Shard("train", 0), Shard("train", 1), Shard("test", 0)]
    return Layout(
        "hash", SplitRule("block", 4096), list(placed), shards, {"train": 12, "val": 0, "test": 3}
    )


def test_documents_have_a_row_a_part() -> None:
    placed = [
        Placed(A, "train", 0, 0, 10, 0),
        Placed(A, "val", 0, 10, 2, 11),
        Placed(B, "test", 5, 0, 2, None),
    ]
    data = documents_bytes(layout(*placed))
    table = pa.ipc.open_file(data).read_all()
    anchors = [0, 3, 4, 7, 9, 12, 10, 14]
    assert table.to_pylist() == [
        {
            "path": b"a\xff", "split": "train", "offset": 0, "start": 0, "length": 10,
            "digest": b"A" * 32, "text_start": 0, "anchors": anchors,
        },
        {
            "path": b"a\xff", "split": "val", "offset": 0, "start": 10, "length": 2,
            "digest": b"A" * 32, "text_start": 11, "anchors": [],
        },
        {
            "path": b"b", "split": "test", "offset": 5, "start": 0, "length": 2,
            "digest": b"B" * 32, "text_start": None, "anchors": [],
        },
    ]  # fmt: skip
    types = [str(field.type).split("<")[0] for field in table.schema]
    assert types == [
        "binary",
        "string",
        "int64",
        "int64",
        "int64",
        "fixed_size_binary[32]",
        "int64",
        "list",
    ]
    assert pa.ipc.open_file(documents_bytes(layout())).read_all().num_rows == 0


def test_documents_are_compressed() -> None:
    many = documents_bytes(layout(*[Placed(B, "train", 0, 0, 2, 0)] * 5000))
    assert len(many) < 50_000


def test_skipped_documents_have_a_line_each() -> None:
    assert skipped_bytes([]) == b""
    data = skipped_bytes([Skip("é", "link"), Skip("a\udcff", "encrypted", 7)])
    assert data == (
        b'{"path": "\\u00e9", "reason": "link", "size": 0}\n'
        b'{"path": "a\\udcff", "reason": "encrypted", "size": 7}\n'
    )
    assert [json.loads(line)["path"] for line in data.splitlines()] == ["é", "a\udcff"]


def test_documents_are_identified_by_path_and_digest() -> None:
    expected = digest_of_documents([(b"a\xff", b"A" * 32), (b"b", b"B" * 32)])
    assert documents_digest([A, B]) == documents_digest([B, A]) == expected


def test_a_manifest_says_what_a_version_is() -> None:
    config = corpus_config(unit="char", separator="é|")
    vocab = Vocab("char", [None, ord("x")])
    skips = [Skip("d", "link"), Skip("e", "invalid", 9)]
    who = identity(config.shaping(), vocab, documents_digest([A, B]), b"lines", "15.0.0")
    shards = [
        ShardEntry("train-00000.arrow", 100, "00", 8, 10),
        ShardEntry("train-00001.arrow", 50, "11", 4, 5, FileEntry("u", 1, "22")),
        ShardEntry("test-00000.arrow", 25, "33", 3, 7),
    ]
    also = Document(b"f", B.chunks, B.digest, ord("x"), "gzip")
    manifest = manifest_of(
        config, who, vocab, layout(), [A, B, EMPTY, also], skips, shards, {"file": b"bytes"}
    )
    mark = fingerprint(who.to_json())
    assert (manifest.fingerprint, manifest.version) == (mark, mark[:12])
    assert (manifest.name, manifest.order, manifest.split) == ("x", "hash", "block")
    assert (manifest.block_bytes, manifest.suspects) == (4096, Suspects(1, (("f", "gzip"),)))
    assert (manifest.documents, manifest.skipped) == (4, 2)
    # A has 16 source bytes and 12 of text, B and its twin 2 and 2.
    assert manifest.bytes == TextBytes(
        source=29, skipped=9, normalised_away=4, text=16, separators=3 * 4
    )
    assert manifest.splits == {
        "train": SplitEntry(12, 15, (shards[0], shards[1])),
        "val": SplitEntry(0, 0, ()),
        "test": SplitEntry(3, 7, (shards[2],)),
    }
    sha256 = hashlib.sha256(b"bytes").hexdigest()
    assert manifest.files == {"file": FileEntry("file", 5, sha256)}
    # y is no symbol: its document starts with the unknown token. An empty one starts with none.
    assert manifest.first_tokens == ((0, 1), (1, 2))
    assert manifest.vocab == vocab.to_json()
    assert manifest.corpus == config.shaping()
    assert manifest.documents_sha256 == who.documents_sha256


def test_several_symbols_may_be_the_unknown_token() -> None:
    config = corpus_config()
    vocab = Vocab("byte", [None, ord("a")])
    who = identity(config.shaping(), vocab, "", b"", "")
    starts = [Document(b"%d" % n, B.chunks, B.digest, first) for n, first in enumerate(b"xyaxa")]
    shards = [ShardEntry(f"{n}", 0, "", 0, 0) for n in range(3)]
    manifest = manifest_of(config, who, vocab, layout(), starts, [], shards, {})
    assert manifest.first_tokens == ((0, 3), (1, 2))
    with pytest.raises(ValueError, match="zip"):
        manifest_of(config, who, vocab, layout(), starts, [], shards[:2], {})
