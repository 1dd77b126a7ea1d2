"""From tokens back to text: any span of a split as its text, any token to its byte in its source.

Normalisation is undone by the alignment in documents.arrow, unknown tokens by the files beside the
shards.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from pipeline.corpora import shards
from pipeline.corpora.manifest import Corpus
from pipeline.corpora.splits import SPLITS
from pipeline.corpora.text import source_offset
from pipeline.corpora.vocab import symbol_bytes


@dataclass(frozen=True)
class Origin:
    """Where a token comes from: the document's relative path, and the token's offset in it.

    `offset` is in bytes of the source. It is None for a separator, which stands behind its document
    and in no source. Inside a stretch that normalisation changed, it is that of the stretch's
    start.
    """

    path: str
    offset: int | None


@dataclass(frozen=True)
class Part:
    """A document's part in one split: a row of documents.arrow, without its anchors.

    Tokens [start, start + length) of the document stand at `offset` in `split`. `text_start` is the
    byte of the document's normalised text where they begin, None where the table does not say.
    """

    path: bytes
    split: str
    offset: int
    start: int
    length: int
    text_start: int | None

    @property
    def end(self) -> int:
        return self.offset + self.length


class Tracer:
    """Reads a corpus version backwards.

    Opens documents.arrow once; a call costs at most one shard's tokens.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.tokens = {split: corpus.open_split(split) for split in SPLITS}
        table = corpus.documents()
        # As arrays: they are most of the table, and a call needs a logarithm of one row.
        lists = table["anchors"].combine_chunks()
        self._anchor_ends = lists.offsets.to_numpy()
        self._anchors = lists.values.to_numpy().reshape(-1, 2)
        self._parts: dict[str, list[Part]] = {split: [] for split in SPLITS}
        self._by_path: dict[bytes, list[Part]] = {}
        # The row of each document's first token: format 3 has the anchors only there.
        self._first_rows: dict[bytes, int] = {}
        columns = [table[key].to_pylist() for key in ("path", "split", "offset", "start", "length")]
        # Format 2 has no such column: there a document has three parts at most.
        has_starts = "text_start" in table.column_names
        columns.append(table["text_start"].to_pylist() if has_starts else [None] * len(table))
        for row, values in enumerate(zip(*columns, strict=True)):
            part = Part(*values)
            self._parts[part.split].append(part)
            self._by_path.setdefault(part.path, []).append(part)
            if not part.start:
                self._first_rows[part.path] = row
        vocab = corpus.vocab
        self._widths = np.array([len(vocab.text(token)) for token in range(len(vocab))])

    def text(self, split: str, start: int, stop: int) -> bytes:
        """The text of tokens [start, stop) of a split. IndexError outside.

        UTF-8, or raw bytes for the byte unit.
        """
        vocab = self.corpus.vocab
        texts = vocab.texts(self.tokens[split].read(start, stop))
        for position, symbol in self._unknown(split, start, stop):
            texts[position - start] = symbol_bytes(symbol, vocab.unit)
        return b"".join(texts)

    def parts(self, split: str) -> list[Part]:
        """The parts of documents that a split has, in the order of its tokens."""
        return self._parts[split]

    def document(self, path: bytes) -> bytes:
        """The normalised text of a whole document, put together from its parts."""
        parts = sorted(self._by_path[path], key=lambda part: part.start)
        return b"".join(self.text(part.split, part.offset, part.end) for part in parts)

    def origin(self, split: str, position: int) -> Origin:
        """Where token `position` of a split comes from. IndexError outside the split."""
        size = len(self.tokens[split])
        if not 0 <= position < size:
            raise IndexError(f"token {position} of {size} in {split}")
        parts = self._parts[split]
        # The last part that begins at or before the position: parts stand in token order.
        index = bisect_right(parts, position, key=lambda part: part.offset) - 1
        if index < 0:
            # A separator at the head of a split: the cut fell between it and its document.
            return Origin(_path(self._last_before(split)), None)
        part = parts[index]
        if position >= part.end:
            return Origin(_path(part), None)
        row = self._first_rows[part.path]
        # The list column counts numbers, of which an anchor has two.
        anchors = self._anchors[self._anchor_ends[row] // 2 : self._anchor_ends[row + 1] // 2]
        return Origin(_path(part), source_offset(anchors, self._text_offset(part, position)))

    def origins(self, split: str, start: int, stop: int) -> list[Origin]:
        """Where tokens [start, stop) of a split come from: the origin of the first of them, and of
        the first token of each document that begins among the others.
        """
        parts = self._parts[split]
        index = bisect_right(parts, start, key=lambda part: part.offset)
        further = []
        for part in parts[index:]:
            if part.offset >= stop:
                break
            further.append(part.offset)
        return [self.origin(split, position) for position in [start, *further]]

    def _last_before(self, split: str) -> Part:
        """The last document of the splits before this one."""
        earlier = SPLITS[: SPLITS.index(split)]
        return next(self._parts[name][-1] for name in reversed(earlier) if self._parts[name])

    def _text_offset(self, part: Part, position: int) -> int:
        """The byte offset of a token in its document's normalised text."""
        if self.corpus.vocab.unit == "byte":
            return part.start + position - part.offset
        offset = self._bytes_between(part.split, part.offset, position)
        if part.text_start is not None:
            return part.text_start + offset
        for earlier in self._by_path[part.path]:
            if earlier.start < part.start:
                offset += self._bytes_between(earlier.split, earlier.offset, earlier.end)
        return offset

    def _bytes_between(self, split: str, start: int, stop: int) -> int:
        """Bytes of text that tokens [start, stop) of a split stand for.

        Only shards that the span begins or ends in are looked into: the manifest has the others'.
        """
        total = 0
        first = 0  # of the shard, in the split
        for shard in self.corpus.manifest.splits[split].shards:
            low = max(start, first)
            high = min(stop, first + shard.tokens)
            if high - low == shard.tokens:
                total += shard.text_bytes
            elif low < high:
                total += self._bytes_within(split, low, high)
            first += shard.tokens
        return total

    def _bytes_within(self, split: str, start: int, stop: int) -> int:
        """Bytes of text of tokens [start, stop), by looking at each."""
        total = int(self._widths[self.tokens[split].read(start, stop)].sum())
        for _, symbol in self._unknown(split, start, stop):
            # The unknown token's own text, U+FFFD, is counted already.
            total += len(symbol_bytes(symbol, self.corpus.vocab.unit)) - int(self._widths[0])
        return total

    def _unknown(self, split: str, start: int, stop: int) -> list[tuple[int, int]]:
        """(position, symbol) of the unknown tokens in [start, stop)."""
        unknown: list[tuple[int, int]] = []
        first = 0  # of the shard, in the split
        for shard in self.corpus.manifest.splits[split].shards:
            overlaps = first < stop and start < first + shard.tokens
            if shard.unknown is not None and overlaps:
                positions, symbols = shards.open_unknown(self.corpus.local(shard.unknown))
                places = positions.astype(np.int64) + first
                low, high = np.searchsorted(places, [start, stop])
                pairs = zip(places[low:high].tolist(), symbols[low:high].tolist(), strict=True)
                unknown.extend(pairs)
            first += shard.tokens
        return unknown


def _path(part: Part) -> str:
    """A path as Python has it: bytes that are no UTF-8 are kept as surrogates."""
    return part.path.decode("utf-8", "surrogateescape")
