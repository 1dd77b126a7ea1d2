"""Which split each stretch of text belongs to.

By hash, where nothing moves when documents come and go: a block's split follows from (seed, path,
number of the block) alone. Or the end of the text is held out (`tail`), or the end of each of its
streams (`interleaved`).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pipeline.corpora.blocks import block_starts
from pipeline.corpora.config import CorpusConfig, Share
from pipeline.corpora.documents import Document
from pipeline.corpora.interleaved import Range, interleaved_ranges
from pipeline.errors import InputError

SPLITS = ("train", "val", "test")

# With fewer documents than this, all are split in small blocks: 5% of 1,000 whole documents are 50,
# and their share is off by a seventh as a rule, and by more where their sizes differ.
FEW_DOCUMENTS = 1000
# 82 documents of 20 KB, 5% asked (400 seeds): a standard deviation of 0.9% in blocks of 4 KiB, of
# 0.5% in these. Smaller ones would be begun more often than an RNN has found into.
SMALL_BLOCK = 2 << 10
LARGE_BLOCK = 1 << 20  # with more documents only those that are larger than this are split at all

# 2**64 by the golden ratio. Multiples of it, modulo 2**64, are spread as evenly as a sequence can
# be: of any n blocks in a row a share p has n * p, give or take one or two.
_GOLDEN = 0x9E3779B97F4A7C15
_HASH_RANGE = 1 << 64


@dataclass(frozen=True)
class SplitRule:
    """How text is divided: block, document, tail or interleaved, as resolved from auto.

    `block_bytes` is the size of blocks, `streams` and `stream_seq_len` are those of the interleaved
    split; each is 0 where there are none.
    """

    split: str
    block_bytes: int = 0
    streams: int = 0
    stream_seq_len: int = 0


@dataclass(frozen=True, kw_only=True)
class Division:
    """All that decides which split a stretch of a document's text goes to.

    Under equal divisions no text of one version's train split is in another's val split, whatever
    documents have come or gone. Where whole documents are split, what shapes blocks is left out.
    """

    split: str
    seed: int
    train: Share
    val: Share
    test: Share
    block_bytes: int = 0
    chunk_bytes: int = 0  # a chunk's beginning may begin a block
    newlines: str = ""
    nfc: bool = False
    replaces: bool = False  # whether U+FFFD is put for what is no UTF-8
    streams: int = 0
    stream_seq_len: int = 0

    @classmethod
    def of(cls, rule: SplitRule, settings: Mapping[str, Any]) -> Division:
        """The division of a version: its rule, and its settings as its manifest has them."""
        shares = {name: settings[name] for name in SPLITS}
        if rule.split != "block":
            return cls(
                split=rule.split,
                seed=settings["seed"],
                streams=rule.streams,
                stream_seq_len=rule.stream_seq_len,
                **shares,
            )
        decodes = settings["unit"] == "char" or settings["nfc"]
        return cls(
            split=rule.split,
            seed=settings["seed"],
            block_bytes=rule.block_bytes,
            chunk_bytes=settings["chunk_bytes"],
            newlines=settings["newlines"],
            nfc=settings["nfc"],
            replaces=decodes and settings["decoding"] == "replace",
            **shares,
        )

    def to_json(self) -> dict[str, Any]:
        """As tags of models have it: the fields of streams only where there are any."""
        value = asdict(self)
        if not self.streams:
            del value["streams"]
            del value["stream_seq_len"]
        return value

    def differences(self, other: Division) -> list[str]:
        """What differs between two divisions: `seed 0, not 1`, where the other has the 1."""
        mine = asdict(self)
        return [
            f"{name} {mine[name]}, not {theirs}"
            for name, theirs in asdict(other).items()
            if mine[name] != theirs
        ]


class Stretch(NamedTuple):
    """Tokens [start, stop) of a document, with those of the separator behind its own."""

    document: Document
    start: int
    stop: int


def rule_of(config: CorpusConfig, documents: int) -> SplitRule:
    """The rule of a recipe for so many documents that count: those skipped are not among them."""
    if config.split == "block":
        return SplitRule("block", SMALL_BLOCK)
    if config.split == "interleaved":
        return SplitRule("interleaved", 0, config.streams, config.stream_seq_len)
    if config.split != "auto":
        return SplitRule(config.split)
    if documents < 2:
        return SplitRule("tail")
    return SplitRule("block", SMALL_BLOCK if documents < FEW_DOCUMENTS else LARGE_BLOCK)


def hash_of(seed: int, purpose: str, path: bytes) -> int:
    """64 bits of a path. The purpose keeps a document's place and its split independent."""
    digest = hashlib.sha256(f"{purpose}:{seed}:".encode() + path).digest()
    return int.from_bytes(digest[:8], "big")


def stretches(
    documents: list[Document], config: CorpusConfig, rule: SplitRule, separator_tokens: int
) -> dict[str, list[Stretch]]:
    """What each split is made of, in the order of the documents.

    Adjacent blocks of one split are one stretch. A separator belongs to the split of what stands
    before it. An empty document without a separator is an empty stretch of one split.
    """
    if rule.split in ("tail", "interleaved"):
        return _cut_by_place(documents, config, rule, separator_tokens)
    chooser = _Chooser(config, rule)
    chosen: dict[str, list[Stretch]] = {name: [] for name in SPLITS}
    for document in documents:
        size = document.tokens + separator_tokens
        starts = block_starts(document, rule.block_bytes) if rule.block_bytes else [0]
        names = chooser.splits_of(document.path, len(starts))
        start = 0
        for number in range(1, len(starts)):
            if names[number] != names[number - 1]:
                chosen[names[number - 1]].append(Stretch(document, start, starts[number]))
                start = starts[number]
        chosen[names[-1]].append(Stretch(document, start, size))
    return chosen


class _Chooser:
    """Gives each block of a path a split, by where its point falls among the fractions laid end to
    end.
    """

    def __init__(self, config: CorpusConfig, rule: SplitRule) -> None:
        self.seed = config.seed
        self.edges: list[float] = []  # where a split's fraction ends
        self.names: list[str] = []  # the splits of the edges, and the rest behind them
        rest = ""
        edge = 0.0
        for name in SPLITS:
            share: Share = getattr(config, name)
            if share == "rest":
                rest = name
                continue
            if isinstance(share, int) and share > 0:
                raise InputError(
                    f"{name} is {share} tokens, but several documents split by {rule.split}; "
                    "use --split tail."
                )
            edge += float(share)
            self.edges.append(edge)
            self.names.append(name)
        self.names.append(rest)

    def splits_of(self, path: bytes, blocks: int) -> list[str]:
        """The split of each block of a document."""
        first = hash_of(self.seed, "split", path)
        points = [(first + number * _GOLDEN) % _HASH_RANGE for number in range(blocks)]
        # The largest points round up to 1.0. No edge lies there, so the rest takes them.
        return [self.names[bisect_right(self.edges, point / _HASH_RANGE)] for point in points]


def _cut_by_place(
    documents: list[Document], config: CorpusConfig, rule: SplitRule, separator_tokens: int
) -> dict[str, list[Stretch]]:
    """All documents as one text, cut into pieces of train, val and test."""
    begins = [0]  # of each document among all, and the length of all
    for document in documents:
        begins.append(begins[-1] + document.tokens + separator_tokens)
    total = begins[-1]
    if rule.split == "tail":
        ranges = _tail_ranges(total, config)
    else:
        ranges = interleaved_ranges(total, config.shares, rule.streams, rule.stream_seq_len)
    chosen: dict[str, list[Stretch]] = {name: [] for name in SPLITS}
    for split, low, high in ranges:
        chosen[split].extend(_between(documents, begins, low, high))
    return chosen


def _tail_ranges(total: int, config: CorpusConfig) -> list[Range]:
    """Train, val and test, one behind the other, empty ones too."""
    ranges = []
    low = 0
    for name, count in _tail_counts(total, config).items():
        ranges.append(Range(name, low, low + count))
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


def _between(
    documents: list[Document], begins: list[int], low: int, high: int
) -> Iterator[Stretch]:
    """Tokens [low, high) of the documents laid end to end, which begin at `begins`."""
    total = begins[-1]
    # The last document that begins in front of `low`. Empty ones at `low` itself stand behind it.
    first = max(0, bisect_left(begins, low) - 1)
    for index in range(first, len(documents)):
        begin = begins[index]
        if begin > high:
            break
        is_empty = begins[index + 1] == begin
        start = max(low, begin)
        stop = min(high, begins[index + 1])
        if start < stop or (is_empty and _owns_empty_document(begin, low, high, total)):
            yield Stretch(documents[index], start - begin, stop - begin)


def _owns_empty_document(place: int, low: int, high: int, total: int) -> bool:
    """Whether a document without any token at `place` belongs to the split [low, high).

    It belongs to the split of the token behind it. At the very end of the text there is none: there
    it belongs to the last split that has any, or, of a text without tokens, to every one.
    """
    if low <= place < high:
        return True
    at_the_end = place == high == total
    return at_the_end and (low < high or not total)
