"""What a version says of itself: documents.arrow, skipped.jsonl, and the manifest of a build."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import storage
from pipeline.corpora import manifest_data
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.documents import Document
from pipeline.corpora.layout import Layout
from pipeline.corpora.manifest_data import (
    FileEntry,
    Identity,
    Manifest,
    ShardEntry,
    SplitEntry,
    TextBytes,
)
from pipeline.corpora.sources import Skip
from pipeline.corpora.splits import SPLITS
from pipeline.corpora.suspects import suspects_of
from pipeline.corpora.text import NO_ANCHORS, START, Anchors, unpacked
from pipeline.corpora.vocab import Vocab

DOCUMENT_COLUMNS = pa.schema(
    [
        ("path", pa.binary()),
        ("split", pa.string()),
        ("offset", pa.int64()),  # first token within the split
        ("start", pa.int64()),  # tokens of the document before this part
        ("length", pa.int64()),  # tokens
        ("digest", pa.binary(32)),  # SHA-256 over the SHA-256 of its chunks' source bytes
        ("text_start", pa.int64()),  # bytes of the document's text before this part, or null
        # Text offset, source offset, ... of the whole document, in the row of its first token.
        ("anchors", pa.list_(pa.int64())),
    ]
)


def documents_bytes(layout: Layout) -> bytes:
    """The bytes of documents.arrow: one row per document and split, in split and token order."""
    columns: dict[str, Any] = {
        "path": [placed.document.path for placed in layout.placed],
        "split": [placed.split for placed in layout.placed],
        "offset": [placed.offset for placed in layout.placed],
        "start": [placed.start for placed in layout.placed],
        "length": [placed.length for placed in layout.placed],
        "digest": [placed.document.digest for placed in layout.placed],
        "text_start": [placed.text_start for placed in layout.placed],
        "anchors": _anchor_column(layout),
    }
    table = pa.table(columns, schema=DOCUMENT_COLUMNS)
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, DOCUMENT_COLUMNS, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def skipped_bytes(skips: list[Skip]) -> bytes:
    """The bytes of skipped.jsonl: a line for each document left out, in the order given."""
    # In ASCII: names need not be UTF-8, and JSON's escapes hold what is left of them.
    lines = [json.dumps(asdict(skip), ensure_ascii=True, sort_keys=True) for skip in skips]
    return "".join(f"{line}\n" for line in lines).encode()


def documents_digest(documents: list[Document]) -> str:
    """What stands for all documents in the fingerprint: SHA-256 (hex) over paths and digests."""
    pairs = ((document.path, document.digest) for document in documents)
    return manifest_data.digest_of_documents(pairs)


def manifest_of(
    config: CorpusConfig,
    identity: Identity,
    vocab: Vocab,
    layout: Layout,
    documents: list[Document],
    skips: list[Skip],
    shards: list[ShardEntry],
    files: dict[str, bytes],
) -> Manifest:
    """The manifest of a version: see docs/formats.md.

    `shards` stand in the layout's order; `files` are the bytes of the version's other files.
    """
    mark = manifest_data.fingerprint(identity.to_json())
    return Manifest(
        **identity.to_json(),
        name=config.name,
        version=manifest_data.version_name(mark),
        fingerprint=mark,
        order=layout.order,
        split=layout.rule.split,
        block_bytes=layout.rule.block_bytes,
        documents=len(documents),
        skipped=len(skips),
        bytes=_text_bytes(config, documents, skips),
        suspects=suspects_of(documents),
        splits=_splits(layout, shards),
        files={
            name: FileEntry(name, len(data), storage.sha256_bytes(data))
            for name, data in files.items()
        },
        first_tokens=_first_tokens(documents, vocab),
    )


def _text_bytes(config: CorpusConfig, documents: list[Document], skips: list[Skip]) -> TextBytes:
    chunks = [chunk for document in documents for chunk in document.chunks]
    taken = sum(chunk.source_bytes for chunk in chunks)
    text = sum(chunk.bytes for chunk in chunks)
    skipped = sum(skip.size for skip in skips)
    return TextBytes(
        source=taken + skipped,
        skipped=skipped,
        normalised_away=taken - text,
        text=text,
        separators=len(config.separator_text) * len(documents),
    )


def _splits(layout: Layout, shards: list[ShardEntry]) -> dict[str, SplitEntry]:
    splits = {}
    for split in SPLITS:
        own = tuple(
            entry
            for planned, entry in zip(layout.shards, shards, strict=True)
            if planned.split == split
        )
        text_bytes = sum(entry.text_bytes for entry in own)
        splits[split] = SplitEntry(layout.tokens[split], text_bytes, own)
    return splits


def _first_tokens(documents: list[Document], vocab: Vocab) -> tuple[tuple[int, int], ...]:
    """How many documents start with each token; sampling without a prime draws from it."""
    starts = Counter(document.first for document in documents if document.first >= 0)
    symbols = sorted(starts)
    dtype = np.uint8 if vocab.unit == "byte" else np.uint32
    tokens = vocab.encode_symbols(np.array(symbols, dtype)).tolist()
    counts: Counter[int] = Counter()
    for symbol, token in zip(symbols, tokens, strict=True):
        counts[token] += starts[symbol]  # several symbols may be the unknown token
    return tuple(sorted(counts.items()))


def _anchors(document: Document) -> Anchors:
    """The chunks' anchors as one alignment of the document's normalised text with its source."""
    if not any(chunk.anchors for chunk in document.chunks):
        return NO_ANCHORS
    moved = []
    text_start = 0
    for chunk in document.chunks:
        # A chunk without anchors keeps its offsets, but the document's may have moved before it.
        own = unpacked(chunk.anchors) if chunk.anchors else START
        moved.append(own + np.array((text_start, chunk.source_offset)))
        text_start += chunk.bytes
    return np.concatenate(moved)


def _anchor_column(layout: Layout) -> pa.Array:
    """The anchors of all rows, as arrays: as a list of numbers a line would be 80 bytes."""
    # In each of thousands of rows they would be many times the text.
    rows = [NO_ANCHORS if placed.start else _anchors(placed.document) for placed in layout.placed]
    ends = np.cumsum([row.size for row in rows], dtype=np.int64)
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, np.concatenate([NO_ANCHORS, *rows]).ravel())
