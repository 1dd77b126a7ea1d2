"""Order, and the shard plan: which token of which document goes where.

Pure arithmetic over chunk tables. It depends on the recipe and the documents alone, so any number
of workers that encode the plan write the same bytes. Which split text belongs to is in splits.py.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.documents import Chunk, Document
from pipeline.corpora.splits import SplitRule, Stretch, hash_of, rule_of, stretches

SEPARATOR_UNIT = -1  # in place of a read unit: the piece is the separator's


@dataclass(frozen=True)
class Placed:
    """A document's part in one split.

    Tokens [start, start + length) of the document stand at `offset` in the split. `text_start` is
    the byte of the document's normalised text where they begin; None where a cut at the end of a
    corpus of characters does not say.
    """

    document: Document
    split: str
    offset: int
    start: int
    length: int
    text_start: int | None


@dataclass(frozen=True)
class Piece:
    """Tokens [skip, skip + take) of a stretch of staged text, or of the separator
    (SEPARATOR_UNIT).

    `offset` and `bytes` say where all of the stretch is staged.
    """

    unit: int
    offset: int
    bytes: int
    skip: int
    take: int


@dataclass(frozen=True)
class Shard:
    """One shard file to be: what it is made of, in order."""

    split: str
    number: int
    pieces: list[Piece] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(piece.take for piece in self.pieces)

    @property
    def file(self) -> str:
        return f"{self.split}-{self.number:05d}.arrow"


@dataclass(frozen=True)
class Layout:
    """The plan of a version.

    `order` and `rule` are as resolved from auto; `tokens` counts by split; `placed` and `shards`
    stand in split and token order.
    """

    order: str
    rule: SplitRule
    placed: list[Placed]
    shards: list[Shard]
    tokens: dict[str, int]


def lay_out(
    documents: list[Document], config: CorpusConfig, separator_tokens: int, shard_tokens: int
) -> Layout:
    """Order the documents, divide them into splits, and plan shards of `shard_tokens` each."""
    order: str = config.order
    if order == "auto":
        order = "hash" if len(documents) > 1 else "path"
    rule = rule_of(config, len(documents))
    ordered = _ordered(documents, order, config.seed)
    # Splits come one after another: rows and shards stand in the order of SPLITS.
    layout = Layout(order, rule, [], [], {})
    for name, own in stretches(ordered, config, rule, separator_tokens).items():
        layout.tokens[name] = sum(stretch.stop - stretch.start for stretch in own)
        layout.placed.extend(_placed(name, own, config.unit, marks=rule.streams > 0))
        layout.shards.extend(_shards(name, _pieces(own), shard_tokens))
    return layout


def _ordered(documents: list[Document], order: str, seed: int) -> list[Document]:
    """By path, or by hash: then every lane of training reads a mixture of what there is."""
    if order == "path":
        return sorted(documents, key=lambda document: document.path)
    # The path decides between equal hashes.
    return sorted(
        documents, key=lambda document: (hash_of(seed, "order", document.path), document.path)
    )


class _Text:
    """A document's chunks by token: found again for each of its stretches."""

    def __init__(self, document: Document) -> None:
        self.chunks = document.chunks
        self.tokens = 0
        self.token_starts: list[int] = []  # of each chunk
        self.text_starts: list[int] = []  # likewise, in bytes of the document's text
        text_start = 0
        for chunk in document.chunks:
            self.token_starts.append(self.tokens)
            self.text_starts.append(text_start)
            self.tokens += chunk.tokens
            text_start += chunk.bytes

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """The staged text of tokens [start, stop), chunk by chunk."""
        index = self._chunk_at(start)
        while index < len(self.chunks) and self.token_starts[index] < stop:
            chunk = self.chunks[index]
            first = max(0, start - self.token_starts[index])
            last = min(chunk.tokens, stop - self.token_starts[index])
            if first < last:
                yield _narrowed(chunk, first, last)
            index += 1

    def byte_at(self, token: int) -> int | None:
        """Where a token begins in the document's text, if it begins a chunk or a block."""
        index = self._chunk_at(token)
        within = token - self.token_starts[index]
        byte, place = _cut_before(self.chunks[index], within)
        return self.text_starts[index] + byte if place == within else None

    def _chunk_at(self, token: int) -> int:
        return bisect_right(self.token_starts, token) - 1


def _texts(own: list[Stretch]) -> Iterator[tuple[Stretch, _Text]]:
    """Each stretch with its document's chunks, which are laid out once for all of its stretches."""
    text: _Text | None = None
    document: Document | None = None
    for stretch in own:
        if text is None or stretch.document is not document:
            document = stretch.document
            text = _Text(document)
        yield stretch, text


def _placed(split: str, own: list[Stretch], unit: str, *, marks: bool) -> Iterator[Placed]:
    """The documents' parts in a split, in token order.

    With `marks` a stretch that begins within a separator has a part too, of length 0. Where splits
    take turns in the text, nothing else says which document that separator stands behind.
    """
    offset = 0
    for stretch, text in _texts(own):
        # Of an empty document the stretch that begins it, be it of the separator alone.
        if marks or stretch.start < max(1, text.tokens):
            start = min(stretch.start, text.tokens)
            length = min(stretch.stop, text.tokens) - start
            text_start = start if unit == "byte" else text.byte_at(start)
            yield Placed(stretch.document, split, offset, start, length, text_start)
        offset += stretch.stop - stretch.start


def _pieces(own: list[Stretch]) -> Iterator[Piece]:
    """What a split is made of, in order: its stretches, and separators behind their documents."""
    for stretch, text in _texts(own):
        yield from text.pieces(stretch.start, min(stretch.stop, text.tokens))
        # Behind the last document too: all documents end alike.
        skip = max(0, stretch.start - text.tokens)
        take = stretch.stop - text.tokens - skip
        if take > 0:
            yield Piece(SEPARATOR_UNIT, 0, 0, skip, take)


def _narrowed(chunk: Chunk, first: int, last: int) -> Piece:
    """Tokens [first, last) of a chunk, with no more text around them than the nearest cuts give."""
    if last - first == chunk.tokens:
        # As nearly all are, of a corpus of many small documents.
        return Piece(chunk.unit, chunk.offset, chunk.bytes, 0, last)
    low_byte, low = _cut_before(chunk, first)
    places = chunk.places
    index = int(np.searchsorted(places[:, 1], last))
    high_byte = int(places[index, 0]) if index < len(places) else chunk.bytes
    return Piece(
        chunk.unit, chunk.offset + low_byte, high_byte - low_byte, first - low, last - first
    )


def _cut_before(chunk: Chunk, token: int) -> tuple[int, int]:
    """(byte, token) of the last cut of a chunk at or before a token; its beginning is one."""
    if not token:
        return 0, 0
    places = chunk.places
    index = int(np.searchsorted(places[:, 1], token, side="right")) - 1
    if index < 0:
        return 0, 0
    return int(places[index, 0]), int(places[index, 1])


def _shards(split: str, pieces: Iterator[Piece], shard_tokens: int) -> list[Shard]:
    """Pieces dealt out to shards; all but the last are full."""
    shards: list[Shard] = []
    room = 0
    for piece in pieces:
        skip = piece.skip
        left = piece.take
        while left:
            if not room:
                shards.append(Shard(split, len(shards)))
                room = shard_tokens
            # A piece that is cut here is in both shards' plans, with the same chunk behind it.
            take = min(room, left)
            shards[-1].pieces.append(Piece(piece.unit, piece.offset, piece.bytes, skip, take))
            skip += take
            left -= take
            room -= take
    return shards
