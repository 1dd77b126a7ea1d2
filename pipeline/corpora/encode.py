"""The second half of a build, from staged text: count symbols, encode shards, describe the documents."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import storage
from pipeline.corpora import manifest, shards
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.layout import SPLITS, Chunk, Document, Layout, Piece, Shard
from pipeline.corpora.sources import Skip
from pipeline.corpora.staging import ReadUnit, read_chunks
from pipeline.corpora.vocab import Vocab, count_symbols, symbols_of
from pipeline.errors import InputError

DOCUMENTS = pa.schema(
    [
        ("path", pa.binary()),
        ("split", pa.string()),
        ("offset", pa.int64()),  # first token within the split
        ("start", pa.int64()),  # tokens of the document before this part
        ("length", pa.int64()),  # tokens
        ("digest", pa.binary(32)),  # of the document's source bytes: SHA-256 over its chunks' SHA-256
        ("anchors", pa.list_(pa.int64())),  # text offset, source offset, ...: where normalisation changed the text
    ]
)


def gather(staging: str, units: list[ReadUnit]) -> tuple[list[Document], list[Skip]]:
    """Documents and skips from the chunk tables of all units.

    Of a path that comes twice in one archive the last counts, as tar does. Raises InputError when two sources have a
    document of one name.
    """
    rows: dict[bytes, list[tuple[int, dict[str, Any]]]] = {}
    for unit in units:
        for row in read_chunks(staging, unit.number).to_pylist():
            if row["source_offset"] == 0:
                if (earlier := rows.get(row["path"])) and earlier[0][0] != unit.number:
                    one, other = (units[number].files[0].url for number in (earlier[0][0], unit.number))
                    raise InputError(
                        f"{one} and {other} both have a document {row['path'].decode('utf-8', 'replace')}; "
                        "rename one, or build two corpora."
                    )
                rows[row["path"]] = []
            rows.setdefault(row["path"], []).append((unit.number, row))
    documents: list[Document] = []
    skips: list[Skip] = []
    for path in sorted(rows):
        reason = next((row["skip"] for _, row in rows[path] if row["skip"]), None)
        if reason is not None:
            skipped = sum(row["source_bytes"] for _, row in rows[path])
            skips.append(Skip(path.decode("utf-8", "surrogateescape"), reason, skipped))
            continue
        documents.append(_document(path, rows[path]))
    return documents, skips


def _document(path: bytes, rows: list[tuple[int, dict[str, Any]]]) -> Document:
    chunks = [
        Chunk(u, r["offset"], r["bytes"], r["tokens"], r["source_offset"], r["source_bytes"], tuple(r["anchors"]))
        for u, r in rows
    ]
    digest = bytes.fromhex(storage.sha256_bytes(b"".join(row["digest"] for _, row in rows)))
    first = next((row["first"] for _, row in rows if row["tokens"]), -1)
    return Document(path, chunks, digest, first)


def chunk_groups(documents: list[Document], group_bytes: int) -> list[list[Piece]]:
    """All staged text, in staged order, in groups of about `group_bytes`: the tasks of counting."""
    chunks = sorted((chunk for document in documents for chunk in document.chunks), key=lambda c: (c.unit, c.offset))
    groups: list[list[Piece]] = [[]]
    room = group_bytes
    for chunk in chunks:
        if room <= 0:
            groups.append([])
            room = group_bytes
        groups[-1].append(Piece(chunk.unit, chunk.offset, chunk.bytes, 0, chunk.tokens))
        room -= chunk.bytes
    return groups


def count_pieces(pieces: list[Piece], staging: str, unit: Any) -> dict[int, int]:
    """Symbol counts of staged text."""
    counts: dict[int, int] = {}
    for text in _texts(pieces, staging):
        for symbol, count in count_symbols(symbols_of(text, unit)).items():
            counts[symbol] = counts.get(symbol, 0) + count
    return counts


def encode_shard(shard: Shard, staging: str, vocab: Vocab, separator: bytes, target: str) -> dict[str, Any]:
    """Encode a planned shard and write it under `target`; returns its manifest entry.

    Symbols that become the unknown token are written beside the shard, so that no text is lost. Every task that is
    given the same plan writes the same bytes, so a repeated task does no harm.
    """
    tokens = np.empty(shard.tokens, vocab.dtype)
    at, text_bytes = 0, 0
    unknown_at: list[np.ndarray] = []
    unknown: list[np.ndarray] = []
    staged = _texts([piece for piece in shard.pieces if piece.unit >= 0], staging)
    for piece in shard.pieces:
        symbols = symbols_of(separator if piece.unit < 0 else next(staged), vocab.unit)[piece.skip : piece.skip + piece.take]
        text_bytes += _utf8_bytes(symbols) if vocab.unit == "char" else len(symbols)
        own = vocab.encode_symbols(symbols)
        tokens[at : at + len(own)] = own
        if vocab.has_unknown and len(places := np.flatnonzero(own == 0)):
            unknown_at.append((at + places).astype(np.uint32))
            unknown.append(symbols[places].astype(np.uint32))
        at += len(own)
    entry: dict[str, Any] = {"tokens": shard.tokens, "text_bytes": text_bytes}
    entry |= _written(target, shard.file, shards.shard_bytes(tokens))
    if unknown:
        data = shards.unknown_bytes(np.concatenate(unknown_at), np.concatenate(unknown))
        entry["unknown"] = _written(target, shards.unknown_file(shard.file), data)
    return entry


def _written(target: str, file: str, data: bytes) -> dict[str, Any]:
    storage.write_bytes(storage.join(target, file), data)
    return {"file": file, "bytes": len(data), "sha256": storage.sha256_bytes(data)}


def _utf8_bytes(symbols: np.ndarray) -> int:
    return int(len(symbols) + (symbols > 0x7F).sum() + (symbols > 0x7FF).sum() + (symbols > 0xFFFF).sum())


def _texts(pieces: list[Piece], staging: str) -> Iterator[bytes]:
    """The staged text of each piece, in order."""
    return storage.read_ranges(
        (storage.join(staging, f"unit-{piece.unit:05d}.bin"), piece.offset, piece.offset + piece.bytes) for piece in pieces
    )


def documents_bytes(layout: Layout) -> bytes:
    """The bytes of documents.arrow: one row per document and split, in split and token order."""
    rows: dict[str, list[Any]] = {name: [] for name in DOCUMENTS.names}
    for placed in layout.placed:
        document = placed.document
        for name, value in zip(
            DOCUMENTS.names,
            (document.path, placed.split, placed.offset, placed.start, placed.length, document.digest, _anchors(document)),
            strict=True,
        ):
            rows[name].append(value)
    sink = io.BytesIO()
    table = pa.table(rows, schema=DOCUMENTS)
    with pa.ipc.new_file(sink, DOCUMENTS, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _anchors(document: Document) -> list[int]:
    """The chunks' anchors as one alignment of the document's normalised text with its source."""
    if not any(chunk.anchors for chunk in document.chunks):
        return []
    anchors, at = [], 0
    for chunk in document.chunks:
        for text, source in zip(chunk.anchors[::2], chunk.anchors[1::2], strict=True):
            anchors += [at + text, chunk.source_offset + source]
        if not chunk.anchors:
            anchors += [at, chunk.source_offset]
        at += chunk.bytes
    return anchors


def skipped_bytes(skips: list[Skip]) -> bytes:
    lines = [json.dumps(asdict(skip), ensure_ascii=True, sort_keys=True) for skip in skips]
    return "".join(f"{line}\n" for line in lines).encode()


def documents_digest(documents: list[Document]) -> str:
    """What stands for all documents in the fingerprint: SHA-256 (hex) over paths and digests, whatever their order."""
    return manifest.digest_of_documents((document.path, document.digest) for document in documents)


def manifest_of(
    config: CorpusConfig, identity: dict[str, Any], vocab: Vocab, layout: Layout,
    documents: list[Document], skips: list[Skip], encoded: list[dict[str, Any]], files: dict[str, bytes],
) -> dict[str, Any]:  # fmt: skip
    """The manifest of a version: see docs/formats.md. Nothing in it depends on when, where or by how many it was built.

    `identity` is what the fingerprint is made of (manifest.identity); `files` are the version's other files.
    """
    splits: dict[str, Any] = {}
    for split in SPLITS:
        own = [entry for entry in encoded if entry["file"].startswith(f"{split}-")]
        splits[split] = {
            "tokens": layout.tokens[split],
            "bytes": sum(entry["text_bytes"] for entry in own),
            "shards": own,
        }
    starts: dict[int, int] = {}
    for document in documents:
        if document.first >= 0:
            starts[document.first] = starts.get(document.first, 0) + 1
    source = sum(chunk.source_bytes for document in documents for chunk in document.chunks)
    kept = sum(chunk.bytes for document in documents for chunk in document.chunks)
    left_out = sum(skip.size for skip in skips)
    mark = manifest.fingerprint(identity)
    return {
        **identity,
        "name": config.name,
        "version": mark[:12],
        "fingerprint": mark,
        "order": layout.order,
        "split": layout.split,
        "documents": len(documents),
        "skipped": len(skips),
        "bytes": {
            "source": source + left_out,
            "skipped": left_out,
            "normalised_away": source - kept,
            "text": kept,
            "separators": len(config.separator_text) * len(documents),
        },
        "splits": splits,
        "files": {name: {"bytes": len(data), "sha256": storage.sha256_bytes(data)} for name, data in files.items()},
        "first_tokens": [[token, count] for token, count in _token_counts(starts, vocab)],
    }


def _token_counts(starts: dict[int, int], vocab: Vocab) -> list[tuple[int, int]]:
    symbols = sorted(starts)
    dtype = np.uint8 if vocab.unit == "byte" else np.uint32
    tokens = vocab.encode_symbols(np.array(symbols, dtype)).tolist()
    counts: dict[int, int] = {}
    for symbol, token in zip(symbols, tokens, strict=True):
        counts[token] = counts.get(token, 0) + starts[symbol]
    return sorted(counts.items())
