"""Every token of every document has one place, which does not depend on who asks."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.corpora.documents import Chunk, Document
from pipeline.corpora.layout import SEPARATOR_UNIT, Layout, Piece, Placed, Shard, lay_out
from pipeline.corpora.splits import SPLITS, SplitRule

from .conftest import corpus_config


def document(name: str, *tokens: int, unit: int = 0) -> Document:
    """A document with a chunk for each number of tokens; a token takes two bytes."""
    chunks = []
    offset = 0
    for count in tokens:
        chunks.append(Chunk(unit, offset, 2 * count, count, offset, 2 * count))
        offset += 2 * count
    return Document(name.encode(), chunks, bytes(32), 0)


def documents(lengths: list[int]) -> list[Document]:
    return [document(f"d{n:02}", length, unit=n) for n, length in enumerate(lengths)]


def planned(these: list[Document], separator: int = 0, shard: int = 1000, **changes: Any) -> Layout:
    return lay_out(these, corpus_config(**changes), separator, shard)


def parts(layout: Layout) -> list[tuple[str, str, int, int, int]]:
    """(path, split, offset, start, length) of each placed part."""
    return [
        (each.document.path.decode(), each.split, each.offset, each.start, each.length)
        for each in layout.placed
    ]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=20), st.integers(0, 3), st.integers(1, 50),
       st.sampled_from(["block", "document", "tail"]),
       st.floats(0, 0.4), st.floats(0, 0.4))  # fmt: skip
def test_shards_hold_every_token_exactly_once(
    lengths: list[int], separator: int, shard: int, split: str, val: float, test: float
) -> None:
    assume(sum(lengths) + separator)  # a corpus without text is refused before
    these = documents(lengths)
    layout = planned(these, separator, shard, split=split, val=val, test=test)
    assert list(layout.tokens) == list(SPLITS)
    assert sum(layout.tokens.values()) == sum(lengths) + separator * len(lengths)
    staged = [piece for each in layout.shards for piece in each.pieces if piece.unit >= 0]
    seen = [(p.unit, token) for p in staged for token in range(p.skip, p.skip + p.take)]
    assert sorted(seen) == [
        (n, token) for n, length in enumerate(lengths) for token in range(length)
    ]
    for name in SPLITS:
        own = [each for each in layout.shards if each.split == name]
        assert sum(each.tokens for each in own) == layout.tokens[name]
        assert all(each.tokens == shard for each in own[:-1])
        assert [each.number for each in own] == list(range(len(own)))
    assert {each.document.path for each in layout.placed} == {each.path for each in these}
    # Rows stand in split and token order, and say where each document's tokens are.
    rows = [(SPLITS.index(each.split), each.offset, each.length) for each in layout.placed]
    assert [row[:2] for row in rows] == sorted(row[:2] for row in rows)
    for each in layout.placed:
        assert 0 <= each.offset <= each.offset + each.length <= layout.tokens[each.split]
    for one in these:
        own = [each for each in layout.placed if each.document.path == one.path]
        assert sum(each.length for each in own) == one.tokens
        if one.tokens:
            starts = [sum(each.length for each in own[:n]) for n in range(len(own))]
            assert [each.start for each in own] == starts


def point(seed: int, purpose: str, path: bytes) -> int:
    """What docs/design.md calls a hash of (seed, path)."""
    return int(hashlib.sha256(f"{purpose}:{seed}:".encode() + path).hexdigest()[:16], 16)


@pytest.mark.parametrize("seed", [0, 7])
def test_documents_stand_in_the_order_of_their_hashes(seed: int) -> None:
    these = documents([1] * 9)
    layout = planned(these, seed=seed, split="tail", val=0, test=0)
    by_hash = sorted(these, key=lambda each: point(seed, "order", each.path))
    assert [each.document for each in layout.placed] == by_hash != these
    backwards = planned(these[::-1], seed=seed, split="tail", val=0, test=0)
    assert backwards.placed == layout.placed
    by_path = planned(these[::-1], order="path", split="tail", val=0, test=0)
    assert [each.document for each in by_path.placed] == these


def test_auto_is_resolved_by_whether_there_are_several_documents() -> None:
    one = planned(documents([9]))
    assert (one.order, one.rule) == ("path", SplitRule("tail"))
    two = planned(documents([9, 9]))
    assert (two.order, two.rule) == ("hash", SplitRule("block", 2048))
    chosen = planned(documents([9, 9]), order="path", split="tail")
    assert (chosen.order, chosen.rule) == ("path", SplitRule("tail"))
    also = planned(documents([9]), order="hash", split="document")
    assert (also.order, also.rule) == ("hash", SplitRule("document"))


def test_a_tail_split_cuts_documents_and_separators() -> None:
    these = [document("a", 3, 4, unit=5), document("b", 2, unit=6)]
    # a a a A A A A | | b b | |  with the cuts behind 5 and behind 8.
    layout = planned(these, 2, 4, split="tail", order="path", train=5, val=3, test="rest")
    assert layout.tokens == {"train": 5, "val": 3, "test": 5}
    assert parts(layout) == [
        ("a", "train", 0, 0, 5),
        ("a", "val", 0, 5, 2),
        ("b", "test", 1, 0, 2),
    ]
    first = Piece(5, 0, 6, 0, 3)
    separator = SEPARATOR_UNIT
    assert layout.shards == [
        Shard("train", 0, [first, Piece(5, 6, 8, 0, 1)]),
        Shard("train", 1, [Piece(5, 6, 8, 1, 1)]),
        Shard("val", 0, [Piece(5, 6, 8, 2, 2), Piece(separator, 0, 0, 0, 1)]),
        Shard(
            "test", 0, [Piece(separator, 0, 0, 1, 1), Piece(6, 0, 4, 0, 2), Piece(-1, 0, 0, 0, 1)]
        ),
        Shard("test", 1, [Piece(separator, 0, 0, 1, 1)]),
    ]
    assert [shard.tokens for shard in layout.shards] == [4, 1, 3, 4, 1]
    assert [shard.file for shard in layout.shards[:2]] == ["train-00000.arrow", "train-00001.arrow"]


def test_a_piece_may_fill_several_shards() -> None:
    layout = planned([document("a", 7)], 0, 3, val=0, test=0)
    assert [each.pieces for each in layout.shards] == [
        [Piece(0, 0, 14, 0, 3)],
        [Piece(0, 0, 14, 3, 3)],
        [Piece(0, 0, 14, 6, 1)],
    ]
    exact = planned([document("a", 6)], 0, 3, val=0, test=0)
    assert [each.tokens for each in exact.shards] == [3, 3]


@pytest.mark.parametrize(
    ("lengths", "changes", "expected"),
    [
        # An empty document is where the token behind it is.
        ([2, 0, 2], {"train": 2, "val": 2, "test": "rest"}, ("d01", "val", 0, 0, 0)),
        ([2, 0, 2], {"train": 3, "val": 1, "test": "rest"}, ("d01", "train", 2, 0, 0)),
        ([0, 2], {"train": 1, "val": 1, "test": "rest"}, ("d00", "train", 0, 0, 0)),
        ([0, 2], {"train": 0, "val": 1, "test": "rest"}, ("d00", "val", 0, 0, 0)),
        # At the end of the text it is in the last split that has any.
        ([2, 0], {"train": 1, "val": 1, "test": "rest"}, ("d01", "val", 1, 0, 0)),
        ([2, 0], {"train": 1, "val": 0, "test": "rest"}, ("d01", "test", 1, 0, 0)),
        ([2, 0], {"train": "rest", "val": 0, "test": 0}, ("d01", "train", 2, 0, 0)),
    ],
)
def test_an_empty_document_is_in_one_split(
    lengths: list[int], changes: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    layout = planned(documents(lengths), split="tail", order="path", **changes)
    empty = [part for part in parts(layout) if part[0] == expected[0]]
    assert empty == [expected]


def test_an_empty_document_before_its_separator() -> None:
    layout = planned(documents([0, 2]), 1, split="tail", order="path", train=1, val=3, test="rest")
    assert parts(layout) == [("d00", "train", 0, 0, 0), ("d01", "val", 0, 0, 2)]
    last = planned(documents([2, 0]), 1, split="tail", order="path", train=3, val=1, test="rest")
    assert parts(last) == [("d00", "train", 0, 0, 2), ("d01", "val", 0, 0, 0)]


def test_documents_without_any_token_are_in_every_split() -> None:
    layout = planned(documents([0]), split="tail", val=0.1, test=0.1)
    assert parts(layout) == [("d00", name, 0, 0, 0) for name in SPLITS]
    assert layout.shards == []


def test_whole_documents_keep_their_separators() -> None:
    layout = planned(documents([2, 3]), 1, split="document", order="path", val=0.0, test=0.0)
    assert layout.tokens == {"train": 7, "val": 0, "test": 0}
    assert parts(layout) == [("d00", "train", 0, 0, 2), ("d01", "train", 3, 0, 3)]
    separator = Piece(SEPARATOR_UNIT, 0, 0, 0, 1)
    assert layout.shards == [
        Shard("train", 0, [Piece(0, 0, 4, 0, 2), separator, Piece(1, 0, 6, 0, 3), separator])
    ]


# Blocks. A token of this document takes two bytes, so that a cut is at another byte than token.


def blocky(name: str, *sizes: int, unit: int = 3) -> Document:
    """A document with a chunk for each number of tokens, and a cut at every 1,024th of a chunk."""
    chunks = []
    staged = 10
    for source, tokens in enumerate(sizes):
        cuts = [[2 * place, place] for place in range(1024, tokens, 1024)]
        packed = np.array(cuts, "<i8").tobytes()
        chunks.append(Chunk(unit, staged, 2 * tokens, tokens, source, 0, (), packed))
        staged += 2 * tokens + 1
    return Document(name.encode(), chunks, bytes(32), 0)


def test_a_piece_is_as_narrow_as_its_cuts() -> None:
    """A shard of the val split reads its blocks, and not the chunks that they are cut out of."""
    one = blocky("a", 2500, 1500)
    tail = {"split": "tail", "test": "rest"}
    layout = planned([one], 2, 10_000, train=1024, val=1050, **tail)
    assert [each.pieces for each in layout.shards] == [
        [Piece(3, 10, 2048, 0, 1024)],
        # Its last 26 tokens lie in the block behind the second cut.
        [Piece(3, 10 + 2048, 2 * (2500 - 1024), 0, 1050)],
        [
            Piece(3, 10 + 4096, 2 * (2500 - 2048), 26, 426),
            Piece(3, 10 + 5001, 3000, 0, 1500),
            Piece(SEPARATOR_UNIT, 0, 0, 0, 2),
        ],
    ]
    inner = planned([one], 0, 10_000, train=1000, val=10, **tail)
    assert inner.shards[1].pieces == [Piece(3, 10, 2048, 1000, 10)]
    exact = planned([one], 0, 10_000, train=1024, val=1024, **tail)
    assert exact.shards[1].pieces == [Piece(3, 10 + 2048, 2048, 0, 1024)]
    across = planned([one], 0, 10_000, train=2499, val=2, **tail)
    assert across.shards[1].pieces == [
        Piece(3, 10 + 4096, 2 * (2500 - 2048), 2499 - 2048, 1),
        Piece(3, 10 + 5001, 2048, 0, 1),
    ]


def test_blocks_are_placed_where_their_hashes_say() -> None:
    a = blocky("a", 5000, 3000)
    b = blocky("b", 20, unit=4)
    changes = {"order": "path", "split": "block", "val": 0.4, "test": 0.0, "seed": 2}
    layout = planned([b, a], 1, 100_000, unit="char", **changes)
    assert layout.rule == SplitRule("block", 2048)
    # Of the blocks that begin at 0, 1024, 2048, 3072, 4096 and, in the second chunk, 6024.
    assert layout.placed == [
        Placed(a, "train", 0, 1024, 2048, 2048),
        Placed(a, "train", 2048, 4096, 1928, 8192),
        Placed(b, "train", 3976, 0, 20, 0),
        Placed(a, "val", 0, 0, 1024, 0),
        Placed(a, "val", 1024, 3072, 1024, 6144),
        Placed(a, "val", 2048, 6024, 1976, 12_048),
    ]
    assert layout.tokens == {"train": 3997, "val": 4025, "test": 0}
    separator = Piece(SEPARATOR_UNIT, 0, 0, 0, 1)
    assert layout.shards == [
        Shard(
            "train",
            0,
            [
                Piece(3, 10 + 2048, 4096, 0, 2048),
                Piece(3, 10 + 8192, 1808, 0, 904),
                Piece(3, 10 + 10_001, 2048, 0, 1024),
                Piece(4, 10, 40, 0, 20),
                separator,
            ],
        ),
        Shard(
            "val",
            0,
            [
                Piece(3, 10, 2048, 0, 1024),
                Piece(3, 10 + 6144, 2048, 0, 1024),
                Piece(3, 10 + 10_001 + 2048, 3952, 0, 1976),
                separator,
            ],
        ),
    ]


def test_a_part_knows_where_its_text_begins() -> None:
    def starts(*sizes: int, **changes: Any) -> list[int | None]:
        return [each.text_start for each in planned([blocky("a", *sizes)], **changes).placed]

    tail = {"split": "tail", "test": "rest"}
    # A character may have any number of bytes: only cuts, and bytes, tell.
    assert starts(5000, unit="char", train=2048, val=2048, **tail) == [0, 4096, 8192]
    assert starts(5000, unit="char", train=2047, val=2050, **tail) == [0, None, None]
    assert starts(5000, unit="byte", train=2047, val=2050, **tail) == [0, 2047, 4097]
    assert starts(5000, 3000, unit="char", train=5000, val=2048, **tail) == [0, 10_000, 14_096]
    assert starts(5000, 0, 3000, unit="char", train=5000, val=2048, **tail) == [0, 10_000, 14_096]
    assert starts(0, unit="char", split="document", val=0.0, test=0.0) == [0]


def test_a_separator_alone_is_no_part_of_a_document() -> None:
    layout = planned(documents([2, 3]), 2, split="tail", order="path", train=3, val=3, test="rest")
    assert parts(layout) == [
        ("d00", "train", 0, 0, 2),
        ("d01", "val", 1, 0, 2),
        ("d01", "test", 0, 2, 1),
    ]
    assert layout.placed[0] == Placed(layout.placed[0].document, "train", 0, 0, 2, 0)


def test_a_split_of_a_separator_alone_has_no_documents() -> None:
    for tokens in (1, 2):
        layout = planned(
            documents([tokens, 3]), 2, split="tail", order="path", train=tokens, val=2, test="rest"
        )
        assert parts(layout) == [("d00", "train", 0, 0, tokens), ("d01", "test", 0, 0, 3)]


def test_what_begins_in_a_separator_says_behind_which_document() -> None:
    these = [document("a", 4, unit=5), document("b", 3, unit=6)]
    # a a a a a a a|b b b . . . .  with separators of 4: a is 8 tokens, b 7; 15 are 2 streams of 6.
    layout = planned(
        these, 4, split="interleaved", streams=2, stream_seq_len=3, order="path", val=0.5, test=0
    )
    assert layout.tokens == {"train": 9, "val": 6, "test": 0}
    assert parts(layout) == [
        ("a", "train", 0, 0, 3),
        ("a", "train", 3, 4, 0),  # tokens 6 and 7 of a, of its separator
        ("b", "train", 5, 0, 1),
        ("b", "train", 6, 3, 0),  # what is left over
        ("a", "val", 0, 3, 1),
        ("b", "val", 3, 1, 2),
    ]
