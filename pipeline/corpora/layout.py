"""Order, splits and the shard plan: which token of which document goes where. Pure arithmetic over chunk tables."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from pipeline.corpora.config import CorpusConfig, Share
from pipeline.errors import InputError

SPLITS = ("train", "val", "test")


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


@dataclass
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
    """A document's part in one split: tokens [start, start + length) of the document, at `offset` in the split."""

    document: Document
    split: str
    offset: int
    start: int
    length: int


@dataclass(frozen=True)
class Piece:
    """A run of tokens of one staged chunk; `unit` -1 stands for the separator."""

    unit: int
    offset: int
    bytes: int
    skip: int
    take: int


@dataclass
class Shard:
    split: str
    number: int
    pieces: list[Piece] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(piece.take for piece in self.pieces)

    @property
    def file(self) -> str:
        return f"{self.split}-{self.number:05d}.arrow"


@dataclass
class Layout:
    order: str
    split: str
    placed: list[Placed]
    shards: list[Shard]
    tokens: dict[str, int]


def lay_out(documents: list[Document], config: CorpusConfig, separator_tokens: int, shard_tokens: int) -> Layout:
    """Order the documents, divide them into splits, and plan shards of `shard_tokens` tokens each."""
    several = len(documents) > 1
    order = config.order if config.order != "auto" else "hash" if several else "path"
    split = config.split if config.split != "auto" else "document" if several else "tail"
    if order == "hash":
        documents = sorted(documents, key=lambda d: (_hash(config.seed, "order", d.path), d.path))
    else:
        documents = sorted(documents, key=lambda d: d.path)
    if split == "document":
        streams = _document_split(documents, config)
        ranges = [(name, streams[name], 0, _length(streams[name], separator_tokens)) for name in SPLITS]
    else:
        total = _length(documents, separator_tokens)
        train, val = _tail_cuts(total, config)
        ranges = [("train", documents, 0, train), ("val", documents, train, val), ("test", documents, val, total)]
    layout = Layout(order, split, [], [], {})
    for name, stream, low, high in ranges:
        layout.tokens[name] = high - low
        placed, pieces = _place(name, stream, low, high, separator_tokens)
        layout.placed += placed
        layout.shards += _shards(name, pieces, shard_tokens)
    return layout


def _hash(seed: int, purpose: str, path: bytes) -> int:
    return int.from_bytes(hashlib.sha256(f"{purpose}:{seed}:".encode() + path).digest()[:8], "big")


def _length(documents: list[Document], separator_tokens: int) -> int:
    return sum(document.tokens + separator_tokens for document in documents)


def _document_split(documents: list[Document], config: CorpusConfig) -> dict[str, list[Document]]:
    """Whole documents to splits by hash of path: a document stays where it is when others come and go."""
    shares: list[tuple[str, Share]] = [(name, getattr(config, name)) for name in SPLITS]
    for name, share in shares:
        if isinstance(share, int) and share > 0:
            raise InputError(f"{name} is {share} tokens, but several documents split by document; use --split tail.")
    rest = next(name for name, share in shares if share == "rest")
    streams: dict[str, list[Document]] = {name: [] for name in SPLITS}
    for document in documents:
        point, chosen, edge = _hash(config.seed, "split", document.path) / 2**64, rest, 0.0
        for name, share in shares:
            if name != rest:
                low, edge = edge, edge + float(share)
                if low <= point < edge:
                    chosen = name
        streams[chosen].append(document)
    return streams


def _tail_cuts(total: int, config: CorpusConfig) -> tuple[int, int]:
    """Where train ends and where val ends, in tokens of the whole text; fractions are rounded down."""
    wanted = {
        name: None if share == "rest" else int(share * total) if isinstance(share, float) else int(share)
        for name, share in ((name, getattr(config, name)) for name in SPLITS)
    }
    given = sum(count for count in wanted.values() if count is not None)
    if given > total:
        raise InputError(f"the splits need {given:,} tokens, the corpus has {total:,}; lower --train, --val or --test.")
    counts = {name: total - given if count is None else count for name, count in wanted.items()}
    return counts["train"], counts["train"] + counts["val"]


def _place(
    split: str, documents: list[Document], low: int, high: int, separator_tokens: int
) -> tuple[list[Placed], list[Piece]]:
    """Cut tokens [low, high) out of the documents laid end to end, each followed by the separator."""
    placed: list[Placed] = []
    pieces: list[Piece] = []
    at, total = 0, _length(documents, separator_tokens)
    for document in documents:
        start, stop = max(low, at), min(high, at + document.tokens)
        empty_here = not document.tokens and (low <= at < high or (at == high == total and (low < high or not total)))
        if start < stop or empty_here:
            placed.append(Placed(document, split, start - low, start - at, max(0, stop - start)))
        for chunk in document.chunks:
            _cut(pieces, chunk.unit, chunk.offset, chunk.bytes, at, chunk.tokens, low, high)
            at += chunk.tokens
        _cut(pieces, -1, 0, 0, at, separator_tokens, low, high)
        at += separator_tokens
    return placed, pieces


def _cut(pieces: list[Piece], unit: int, offset: int, size: int, at: int, tokens: int, low: int, high: int) -> None:
    start, stop = max(low, at), min(high, at + tokens)
    if start < stop:
        pieces.append(Piece(unit, offset, size, start - at, stop - start))


def _shards(split: str, pieces: list[Piece], shard_tokens: int) -> list[Shard]:
    shards: list[Shard] = []
    room = 0
    for piece in pieces:
        skip, left = piece.skip, piece.take
        while left:
            if not room:
                shards.append(Shard(split, len(shards)))
                room = shard_tokens
            take = min(room, left)
            shards[-1].pieces.append(Piece(piece.unit, piece.offset, piece.bytes, skip, take))
            skip, left, room = skip + take, left - take, room - take
    return shards
