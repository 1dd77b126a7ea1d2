"""From tokens back to text: any span of a split as the text it was made from, any token to its byte in its source.

Normalisation is undone by the alignment in documents.arrow, unknown tokens by the files beside the shards.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline import storage
from pipeline.corpora import shards
from pipeline.corpora.layout import SPLITS
from pipeline.corpora.manifest import DOCUMENTS, Corpus
from pipeline.corpora.text import source_offset


@dataclass(frozen=True)
class Origin:
    """Where a token comes from: the document's relative path, and the byte offset of the token's text in that document.

    `offset` is None for a separator, which stands behind its document and in no source. Inside a stretch that
    normalisation changed, it is the offset of the stretch's start.
    """

    path: str
    offset: int | None


class Tracer:
    """Reads a corpus version backwards. Opens documents.arrow once; costs at most one shard's tokens a call."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.tokens = {split: corpus.open_split(split) for split in SPLITS}
        table = pa.ipc.open_file(pa.BufferReader(storage.read_bytes(storage.join(corpus.url, DOCUMENTS)))).read_all()
        self._paths, self._splits = table["path"].to_pylist(), table["split"].to_pylist()
        self._offsets, self._starts, self._lengths = (table[key].to_pylist() for key in ("offset", "start", "length"))
        self._anchors = table["anchors"]
        # Rows stand in split and token order.
        self._first = {split: self._splits.index(split) if split in self._splits else len(self._splits) for split in SPLITS}
        self._count = {split: self._splits.count(split) for split in SPLITS}
        vocab = corpus.vocab
        self._widths = np.array([len(vocab.text(token)) for token in range(len(vocab))])

    def text(self, split: str, start: int, stop: int) -> bytes:
        """The text of tokens [start, stop) of a split: UTF-8, or raw bytes for the byte unit. IndexError outside."""
        tokens = self.tokens[split].read(start, stop)
        decoded: list[bytes] = self.corpus.vocab.texts(tokens)
        for position, symbol in self._unknown(split, start, stop):
            decoded[position - start] = bytes([symbol]) if self.corpus.vocab.unit == "byte" else chr(symbol).encode()
        return b"".join(decoded)

    def origin(self, split: str, position: int) -> Origin:
        """Where token `position` of a split comes from. IndexError outside the split."""
        if not 0 <= position < len(self.tokens[split]):
            raise IndexError(f"token {position} of {len(self.tokens[split])} in {split}")
        first = self._first[split]
        row = bisect_right(self._offsets, position, first, first + self._count[split]) - 1
        if row < first or position >= self._offsets[row] + self._lengths[row]:
            # A separator; at the head of a split that was cut there, of the last document before.
            return Origin(
                self._paths[row if row >= first else self._last_before(split)].decode("utf-8", "surrogateescape"), None
            )
        offset = self._text_offset(split, row, position)
        anchors = self._anchors[row].as_py()
        source = source_offset(list(zip(anchors[::2], anchors[1::2], strict=True)), offset)
        return Origin(self._paths[row].decode("utf-8", "surrogateescape"), source)

    def _last_before(self, split: str) -> int:
        """The row of the last document of the splits before this one."""
        return max(self._first[name] + self._count[name] - 1 for name in SPLITS[: SPLITS.index(split)] if self._count[name])

    def _text_offset(self, split: str, row: int, position: int) -> int:
        """The byte offset of a token in its document's normalised text."""
        start = self._offsets[row]
        if self.corpus.vocab.unit == "byte":
            return int(self._starts[row] + position - start)
        offset = self._bytes_before(split, position) - self._bytes_before(split, start)
        for other, path in enumerate(self._paths):
            if self._starts[row] and path == self._paths[row] and self._starts[other] < self._starts[row]:
                at, length, where = self._offsets[other], self._lengths[other], self._splits[other]
                offset += self._bytes_before(where, at + length) - self._bytes_before(where, at)
        return offset

    def _bytes_before(self, split: str, position: int) -> int:
        """Bytes of text that the tokens in front of `position` stand for."""
        total, at = 0, 0
        for shard in self.corpus.manifest["splits"][split]["shards"]:
            if at + shard["tokens"] > position:
                total += int(self._widths[self.tokens[split].read(at, position)].sum())
                for _, symbol in self._unknown(split, at, position):
                    total += len(chr(symbol).encode()) - self._widths[0]
                break
            total, at = total + shard["text_bytes"], at + shard["tokens"]
        return int(total)

    def _unknown(self, split: str, start: int, stop: int) -> list[tuple[int, int]]:
        """(position, symbol) of the unknown tokens in [start, stop)."""
        found: list[tuple[int, int]] = []
        at = 0
        for shard in self.corpus.manifest["splits"][split]["shards"]:
            if "unknown" in shard and at < stop and start < at + shard["tokens"]:
                positions, symbols = shards.open_unknown(self.corpus.local(shard["unknown"]))
                low, high = np.searchsorted(positions, [max(0, start - at), stop - at])
                found += zip((positions[low:high].astype(np.int64) + at).tolist(), symbols[low:high].tolist(), strict=True)
            at += shard["tokens"]
        return found
