"""From staged text to token shards: count the symbols, and write the planned shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from pipeline import storage
from pipeline.corpora import shards
from pipeline.corpora.documents import Document
from pipeline.corpora.layout import SEPARATOR_UNIT, Piece, Shard
from pipeline.corpora.manifest_data import FileEntry, ShardEntry
from pipeline.corpora.staging import blob_url
from pipeline.corpora.vocab import Symbols, Unit, Vocab, count_symbols, symbols_of


def chunk_groups(documents: list[Document], group_bytes: int) -> list[list[Piece]]:
    """All staged text, in staged order, in groups of about `group_bytes`: the tasks of counting."""
    chunks = [chunk for document in documents for chunk in document.chunks]
    # In staged order a task reads its blobs from front to back.
    chunks.sort(key=lambda chunk: (chunk.unit, chunk.offset))
    groups: list[list[Piece]] = [[]]
    room = group_bytes
    for chunk in chunks:
        if room <= 0:
            groups.append([])
            room = group_bytes
        groups[-1].append(Piece(chunk.unit, chunk.offset, chunk.bytes, 0, chunk.tokens))
        room -= chunk.bytes
    return groups


def count_pieces(pieces: list[Piece], staging: str, unit: Unit) -> dict[int, int]:
    """Symbol counts of staged text."""
    counts: Counter[int] = Counter()
    for text in _staged_texts(pieces, staging):
        counts.update(count_symbols(symbols_of(text, unit)))
    return dict(counts)


def encode_shard(
    shard: Shard, staging: str, vocab: Vocab, separator: bytes, target: str
) -> ShardEntry:
    """Encode a planned shard and write it under `target`; returns its manifest entry.

    Symbols that become the unknown token are written beside the shard, so that no text is lost.
    Every task that is given the same plan writes the same bytes, so a repeated task does no harm.
    """
    # A shard is put together in memory: 64 MiB by default, and its file's bytes beside it.
    tokens = np.empty(shard.tokens, vocab.dtype)
    unknown_positions: list[np.ndarray] = []
    unknown_symbols: list[np.ndarray] = []
    filled = 0
    text_bytes = 0
    for symbols in _piece_symbols(shard, staging, vocab.unit, separator):
        own = vocab.encode_symbols(symbols)
        tokens[filled : filled + len(own)] = own
        if vocab.has_unknown:
            # The unknown token is token 0.
            places = np.flatnonzero(own == 0)
            unknown_positions.append((filled + places).astype(np.uint32))
            unknown_symbols.append(symbols[places].astype(np.uint32))
        filled += len(own)
        text_bytes += _text_bytes(symbols, vocab.unit)
    file = _write(target, shard.file, shards.shard_bytes(tokens))
    unknown = None
    if any(map(len, unknown_symbols)):
        positions = np.concatenate(unknown_positions)
        data = shards.unknown_bytes(positions, np.concatenate(unknown_symbols))
        unknown = _write(target, shards.unknown_file(shard.file), data)
    return ShardEntry(file.file, file.bytes, file.sha256, shard.tokens, text_bytes, unknown)


def _piece_symbols(shard: Shard, staging: str, unit: Unit, separator: bytes) -> Iterator[Symbols]:
    """The symbols of each piece of a shard, in order."""
    staged = [piece for piece in shard.pieces if piece.unit != SEPARATOR_UNIT]
    texts = _staged_texts(staged, staging)
    for piece in shard.pieces:
        # Two shards that share a piece both read all of its text, and each keeps its own part.
        text = separator if piece.unit == SEPARATOR_UNIT else next(texts)
        yield symbols_of(text, unit)[piece.skip : piece.skip + piece.take]


def _staged_texts(pieces: Iterable[Piece], staging: str) -> Iterator[bytes]:
    """The staged text of each piece, in order."""
    # By a generator: read_ranges fetches remote text in batches, ahead of whoever needs it.
    return storage.read_ranges(
        (blob_url(staging, piece.unit), piece.offset, piece.offset + piece.bytes)
        for piece in pieces
    )


def _text_bytes(symbols: Symbols, unit: Unit) -> int:
    """Bytes of the text that symbols are: of UTF-8, for characters."""
    if unit == "byte":
        return len(symbols)
    # A character takes one byte, and one more from each of these code points on.
    longer = [int((symbols >= first).sum()) for first in (0x80, 0x800, 0x10000)]
    return len(symbols) + sum(longer)


def _write(target: str, file: str, data: bytes) -> FileEntry:
    storage.write_bytes(storage.join(target, file), data)
    return FileEntry(file, len(data), storage.sha256_bytes(data))
