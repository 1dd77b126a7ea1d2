"""Order, splits and the shard plan: which token of which document goes where.

Pure arithmetic over chunk tables. It depends on the recipe and the documents alone, so any number
of workers that encode the plan write the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.corpora.config import CorpusConfig, Share
from pipeline.errors import InputError

SPLITS = ("train", "val", "test")
SEPARATOR_UNIT = -1  # in place of a read unit: the piece is the separator's


@dataclass(frozen=True)
class Chunk:
    """Where a stretch of normalised text is staged. `unit` is the read unit whose blob holds it."""

    unit: int
    offset: int
    bytes: int
    tokens: int
    source_offset: int
    source_bytes: int
    anchors: tuple[int, ...] = ()


@dataclass(frozen=True)
class Document:
    """One document that the corpus takes: its chunks in order, and what they add up to."""

    path: bytes
    chunks: list[Chunk]
    digest: bytes
    first: int  # first symbol, -1 when empty

    @property
    def tokens(self) -> int:
        return sum(chunk.tokens for chunk in self.chunks)


@dataclass(frozen=True)
class Placed:
    """A document's part in one split.

    Tokens [start, start + length) of the document stand at `offset` in the split.
    """

    document: Document
    split: str
    offset: int
    start: int
    length: int


@dataclass(frozen=True)
class Piece:
    """Tokens [skip, skip + take) of one staged chunk, or of the separator (SEPARATOR_UNIT).

    `offset` and `bytes` say where all of the chunk's text is staged.
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

    `order` and `split` are as resolved from auto; `tokens` counts by split; `placed` and `shards`
    stand in split and token order.
    """

    order: str
    split: str
    placed: list[Placed]
    shards: list[Shard]
    tokens: dict[str, int]


class _SplitRange(NamedTuple):
    """A split: tokens [low, high) of its documents laid end to end, with separators."""

    name: str
    documents: list[Document]
    low: int
    high: int


def lay_out(
    documents: list[Document], config: CorpusConfig, separator_tokens: int, shard_tokens: int
) -> Layout:
    """Order the documents, divide them into splits, and plan shards of `shard_tokens` each."""
    several = len(documents) > 1  # documents that count: those skipped are not among them
    order, split = _resolved(config, several)
    ordered = _ordered(documents, order, config.seed)
    if split == "document":
        ranges = _document_ranges(ordered, config, separator_tokens)
    else:
        ranges = _tail_ranges(ordered, config, separator_tokens)
    # Splits come one after another: rows and shards stand in the order of SPLITS.
    layout = Layout(order, split, [], [], {})
    for each in ranges:
        layout.tokens[each.name] = each.high - each.low
        layout.placed.extend(_placed(each, separator_tokens))
        pieces = _pieces(each, separator_tokens)
        layout.shards.extend(_shards(each.name, pieces, shard_tokens))
    return layout


def _resolved(config: CorpusConfig, several: bool) -> tuple[str, str]:
    """Order and split, with auto resolved by whether there are several documents."""
    order: str = config.order
    if order == "auto":
        order = "hash" if several else "path"
    split: str = config.split
    if split == "auto":
        split = "document" if several else "tail"
    return order, split


def _ordered(documents: list[Document], order: str, seed: int) -> list[Document]:
    """By path, or by hash: then every lane of training reads a mixture of what there is."""
    if order == "path":
        return sorted(documents, key=lambda document: document.path)
    # The path decides between equal hashes.
    return sorted(
        documents, key=lambda document: (_hash(seed, "order", document.path), document.path)
    )


def _hash(seed: int, purpose: str, path: bytes) -> int:
    """64 bits of a path. The purpose keeps a document's place and its split independent."""
    digest = hashlib.sha256(f"{purpose}:{seed}:".encode() + path).digest()
    return int.from_bytes(digest[:8], "big")


def _length(documents: list[Document], separator_tokens: int) -> int:
    return sum(document.tokens + separator_tokens for document in documents)


def _document_ranges(
    documents: list[Document], config: CorpusConfig, separator_tokens: int
) -> list[_SplitRange]:
    """Whole documents to splits by hash of path.

    A document stays where it is when others come and go: a corpus that grows never moves validation
    text into the training text.
    """
    chooser = _SplitChooser(config)
    chosen: dict[str, list[Document]] = {name: [] for name in SPLITS}
    for document in documents:
        chosen[chooser.split_of(document.path)].append(document)
    return [
        _SplitRange(name, own, 0, _length(own, separator_tokens)) for name, own in chosen.items()
    ]


class _SplitChooser:
    """Gives each path a split, by where its hash falls among the fractions laid end to end."""

    def __init__(self, config: CorpusConfig) -> None:
        self.seed = config.seed
        self.rest = ""
        self.edges: list[tuple[float, str]] = []  # where a split's stretch ends; `rest` is behind
        edge = 0.0
        for name in SPLITS:
            share: Share = getattr(config, name)
            if share == "rest":
                self.rest = name
                continue
            if isinstance(share, int) and share > 0:
                raise InputError(
                    f"{name} is {share} tokens, but several documents split by document; "
                    "use --split tail."
                )
            edge += float(share)
            self.edges.append((edge, name))

    def split_of(self, path: bytes) -> str:
        # The largest hashes round up to 1.0. No edge lies there, so `rest` takes them.
        point = _hash(self.seed, "split", path) / 2**64
        for edge, name in self.edges:
            if point < edge:
                return name
        return self.rest


def _tail_ranges(
    documents: list[Document], config: CorpusConfig, separator_tokens: int
) -> list[_SplitRange]:
    """All documents as one text, cut into train, val and test."""
    total = _length(documents, separator_tokens)
    ranges = []
    low = 0
    for name, count in _tail_counts(total, config).items():
        ranges.append(_SplitRange(name, documents, low, low + count))
        low += count
    return ranges


def _tail_counts(total: int, config: CorpusConfig) -> dict[str, int]:
    """Tokens of each split out of `total`; fractions are rounded down."""
    wanted: dict[str, int] = {}
    for name in SPLITS:
        share: Share = getattr(config, name)
        if share != "rest":
            # 0.9 of 1,115,394 tokens are 1,003,854, as nanoGPT cuts tiny Shakespeare.
            wanted[name] = int(share * total) if isinstance(share, float) else share
    needed = sum(wanted.values())
    if needed > total:
        raise InputError(
            f"the splits need {needed:,} tokens, the corpus has {total:,}; "
            "lower --train, --val or --test."
        )
    return {name: wanted.get(name, total - needed) for name in SPLITS}


def _placed(each: _SplitRange, separator_tokens: int) -> Iterator[Placed]:
    """The documents' parts in a split, in token order."""
    total = _length(each.documents, separator_tokens)
    begin = 0  # of the document, in the text that the range is cut out of
    for document in each.documents:
        tokens = document.tokens  # a sum over its chunks: taken once
        start = max(each.low, begin)
        stop = min(each.high, begin + tokens)
        has_tokens = start < stop
        if has_tokens or (not tokens and _owns_empty_document(each, begin, total)):
            length = max(0, stop - start)
            yield Placed(document, each.name, start - each.low, start - begin, length)
        begin += tokens + separator_tokens


def _owns_empty_document(each: _SplitRange, place: int, total: int) -> bool:
    """Whether a document without tokens at `place` belongs to this split.

    It belongs to the split of the token behind it. At the very end of the text there is none: there
    it belongs to the last split that has any, or, of a text without tokens, to every one.
    """
    if each.low <= place < each.high:
        return True
    at_the_end = place == each.high == total
    return at_the_end and (each.low < each.high or not total)


def _pieces(each: _SplitRange, separator_tokens: int) -> Iterator[Piece]:
    """What a split is made of, in order: each document's chunks, and its separator behind them."""
    begin = 0
    for document in each.documents:
        for chunk in document.chunks:
            yield from _cut(each, begin, chunk.tokens, chunk.unit, chunk.offset, chunk.bytes)
            begin += chunk.tokens
        # Behind the last document too: all documents end alike.
        yield from _cut(each, begin, separator_tokens, SEPARATOR_UNIT, 0, 0)
        begin += separator_tokens


def _cut(
    each: _SplitRange, begin: int, tokens: int, unit: int, offset: int, size: int
) -> Iterator[Piece]:
    """The part of `tokens` tokens at `begin` that lies in the split, if any does."""
    start = max(each.low, begin)
    stop = min(each.high, begin + tokens)
    if start < stop:
        yield Piece(unit, offset, size, start - begin, stop - start)


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
