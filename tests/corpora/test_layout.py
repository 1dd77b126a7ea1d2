"""Every token of every document has one place, which does not depend on who asks."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.corpora.layout import (
    SEPARATOR_UNIT,
    SPLITS,
    Chunk,
    Document,
    Layout,
    Piece,
    Shard,
    lay_out,
)
from pipeline.errors import InputError

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
       st.sampled_from(["document", "tail"]), st.floats(0, 0.4), st.floats(0, 0.4))  # fmt: skip
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


def test_a_document_keeps_its_split_when_others_come() -> None:
    shares = {"split": "document", "val": 0.3, "test": 0.3}
    few = planned(documents([5] * 20), **shares)
    many = planned(documents([5] * 40), **shares)
    before = {each.document.path: each.split for each in few.placed}
    after = {each.document.path: each.split for each in many.placed}
    assert before == {path: after[path] for path in before}
    assert set(before.values()) == set(SPLITS)


def point(seed: int, purpose: str, path: bytes) -> int:
    """What docs/design.md calls a hash of (seed, path)."""
    return int(hashlib.sha256(f"{purpose}:{seed}:".encode() + path).hexdigest()[:16], 16)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize(
    "shares",
    [
        {"val": 0.3, "test": 0.2},
        {"train": 0.5, "val": "rest", "test": 0.2},
        {"train": 0.5, "val": 0.25, "test": "rest"},
        {"val": 0.0, "test": 0},
        {"val": 0.99, "test": 0.0},
    ],
)
def test_documents_go_to_splits_by_hash(seed: int, shares: dict[str, Any]) -> None:
    layout = planned(documents([5] * 60), seed=seed, split="document", **shares)
    config = corpus_config(**shares)
    for each in layout.placed:
        place = point(seed, "split", each.document.path) / 2**64
        expected = next(name for name in SPLITS if getattr(config, name) == "rest")
        edge = 0.0
        for name in SPLITS:
            share = getattr(config, name)
            if share != "rest":
                if edge <= place < edge + share:
                    expected = name
                edge += share
        assert each.split == expected


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
    assert (one.order, one.split) == ("path", "tail")
    two = planned(documents([9, 9]))
    assert (two.order, two.split) == ("hash", "document")
    chosen = planned(documents([9, 9]), order="path", split="tail")
    assert (chosen.order, chosen.split) == ("path", "tail")
    also = planned(documents([9]), order="hash", split="document")
    assert (also.order, also.split) == ("hash", "document")


def test_tail_splits_are_exact() -> None:
    one = planned(documents([100]), split="tail", train=70, val="rest", test=0)
    assert one.tokens == {"train": 70, "val": 30, "test": 0}
    shakespeare = planned(documents([1_115_394]), train=0.9, val="rest", test=0)
    assert shakespeare.tokens == {"train": 1_003_854, "val": 111_540, "test": 0}
    rounded = planned(documents([99]), val=0.29, test=0.01)
    assert rounded.tokens == {"train": 71, "val": 28, "test": 0}
    exact = planned(documents([10]), val=4, test=6)
    assert exact.tokens == {"train": 0, "val": 4, "test": 6}
    with pytest.raises(InputError, match=r"the splits need 1,011 tokens, the corpus has 1,010; lo"):
        planned(documents([1010]), val=1005, test=6)


def test_a_number_of_tokens_cannot_be_a_share_of_documents() -> None:
    message = r"^val is 3 tokens, but several documents split by document; use --split tail\.$"
    with pytest.raises(InputError, match=message):
        planned(documents([9, 9]), val=3)
    with pytest.raises(InputError, match="test is 1 tokens"):
        planned(documents([9, 9]), test=1)


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
