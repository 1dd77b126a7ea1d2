"""Which split text belongs to: by hash of (seed, path, block), or by its place."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.corpora.blocks import safe_cuts
from pipeline.corpora.documents import Chunk, Document
from pipeline.corpora.splits import (
    FEW_DOCUMENTS,
    LARGE_BLOCK,
    SMALL_BLOCK,
    SPLITS,
    Division,
    SplitRule,
    Stretch,
    hash_of,
    rule_of,
    stretches,
)
from pipeline.errors import InputError

from .conftest import corpus_config

BLOCKS = SplitRule("block", SMALL_BLOCK)
WHOLE = SplitRule("document")


def blocky(name: str, tokens: int, block: int = SMALL_BLOCK) -> Document:
    """A document of one chunk of bytes with a cut at every multiple of `block`."""
    cuts = [[place, place] for place in range(block, tokens, block)]
    packed = np.array(cuts, "<i8").tobytes()
    chunk = Chunk(0, 0, tokens, tokens, 0, tokens, (), packed)
    return Document(name.encode(), [chunk], bytes(32), 0)


def split(
    these: list[Document], rule: SplitRule = BLOCKS, separator: int = 0, **changes: Any
) -> dict[str, list[tuple[str, int, int]]]:
    found = stretches(these, corpus_config(**changes), rule, separator)
    return {
        name: [(each.document.path.decode(), each.start, each.stop) for each in own]
        for name, own in found.items()
    }


def tokens_by_split(found: dict[str, list[tuple[str, int, int]]]) -> dict[tuple[str, int], str]:
    """(path, token) -> split; each is there once."""
    places = [
        ((path, token), name)
        for name, own in found.items()
        for path, start, stop in own
        for token in range(start, stop)
    ]
    assert len(dict(places)) == len(places)
    return dict(places)


# Rules.


@pytest.mark.parametrize(
    ("asked", "documents", "expected"),
    [
        ("auto", 0, ("tail", 0)),
        ("auto", 1, ("tail", 0)),
        ("auto", 2, ("block", 2048)),
        ("auto", 999, ("block", 2048)),
        ("auto", 1000, ("block", 1 << 20)),
        ("block", 1, ("block", 2048)),
        ("block", 60_000, ("block", 2048)),
        ("document", 1, ("document", 0)),
        ("document", 60_000, ("document", 0)),
        ("tail", 2, ("tail", 0)),
        ("interleaved", 1, ("interleaved", 0)),
        ("interleaved", 60_000, ("interleaved", 0)),
    ],
)
def test_the_rule_follows_from_the_recipe_and_the_number_of_documents(
    asked: str, documents: int, expected: tuple[str, int]
) -> None:
    rule = rule_of(corpus_config(split=asked), documents)
    assert (rule.split, rule.block_bytes) == expected
    assert (FEW_DOCUMENTS, SMALL_BLOCK, LARGE_BLOCK) == (1000, 2048, 1 << 20)


# By hash.


def point(seed: int, path: bytes, block: int = 0) -> float:
    """What docs/formats.md says, by itself: 2**64 by the golden ratio, added once a block."""
    first = int(hashlib.sha256(f"split:{seed}:".encode() + path).hexdigest()[:16], 16)
    return ((first + block * 11400714819323198485) % 2**64) / 2**64


@pytest.mark.parametrize("rule", [BLOCKS, WHOLE])
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
def test_blocks_go_to_splits_by_their_points(
    rule: SplitRule, seed: int, shares: dict[str, Any]
) -> None:
    config = corpus_config(**shares)
    these = [blocky(f"d{n}", 2 * SMALL_BLOCK * n + 5) for n in range(9)]
    found = tokens_by_split(split(these, rule, seed=seed, **shares))
    assert len(found) == sum(each.tokens for each in these)
    for (path, token), name in found.items():
        block = token // SMALL_BLOCK if rule.block_bytes else 0
        place = point(seed, path.encode(), block)
        expected = next(name for name in SPLITS if getattr(config, name) == "rest")
        edge = 0.0
        for other in SPLITS:
            share = getattr(config, other)
            if share != "rest":
                if edge <= place < edge + share:
                    expected = other
                edge += share
        assert name == expected


def test_known_points_stay() -> None:
    """Recorded: other splits for the same text would be another format."""
    assert hash_of(0, "split", b"a.txt") == int.from_bytes(
        hashlib.sha256(b"split:0:a.txt").digest()[:8], "big"
    )
    assert hash_of(0, "order", b"a.txt") != hash_of(0, "split", b"a.txt")
    found = split([blocky("a.txt", 20_000)], val=0.3, test=0.2)
    assert found == KNOWN


KNOWN = {
    "train": [
        ("a.txt", 0, 2048),
        ("a.txt", 4096, 8192),
        ("a.txt", 10240, 12288),
        ("a.txt", 16384, 18432),
    ],
    "val": [("a.txt", 8192, 10240), ("a.txt", 14336, 16384), ("a.txt", 18432, 20000)],
    "test": [("a.txt", 2048, 4096), ("a.txt", 12288, 14336)],
}


def test_adjacent_blocks_of_a_split_are_one_stretch() -> None:
    found = split([blocky("a", 40_000), blocky("b", 3)], separator=2, val=0.0, test=0.0)
    assert found == {"train": [("a", 0, 40_002), ("b", 0, 5)], "val": [], "test": []}
    config = corpus_config(val=0.4, test=0.2)
    one = blocky("a", 400_000)
    for own in stretches([one], config, BLOCKS, 0).values():
        assert all(low.stop < high.start for low, high in pairwise(own))
        assert all(each.document is one and each.start < each.stop for each in own)


def test_a_separator_belongs_to_the_last_block() -> None:
    with_it = split([blocky("a", 40_000)], separator=3, val=0.4, test=0.2)
    without = split([blocky("a", 40_000)], val=0.4, test=0.2)
    (last,) = [name for name, own in without.items() if own and own[-1][2] == 40_000]
    without[last][-1] = (*without[last][-1][:2], 40_003)
    assert with_it == without


def test_an_empty_document_is_one_stretch() -> None:
    for rule in (BLOCKS, WHOLE):
        for separator in (0, 2):
            found = split([blocky("a", 0)], rule, separator)
            assert [each for own in found.values() for each in own] == [("a", 0, separator)]


def test_a_whole_document_is_where_its_first_block_is() -> None:
    """So the documents of a large corpus that no block cuts are where format 2 put them."""
    these = [blocky(f"d{n}", SMALL_BLOCK) for n in range(50)]
    shares = {"val": 0.3, "test": 0.2}
    large = SplitRule("block", LARGE_BLOCK)
    found = split(these, WHOLE, **shares)
    assert found == split(these, **shares) == split(these, large, **shares)
    assert all(found.values())


names = st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=12)


@given(names, names, st.integers(0, 50), st.data())
def test_nothing_moves_when_documents_come_and_go(
    few: list[str], others: list[str], seed: int, data: st.DataObject
) -> None:
    shares = {"val": 0.3, "test": 0.2, "seed": seed}
    sizes = {name: 7 * 997 * (len(name) + ord(name[0]) - 97) for name in [*few, *others]}
    one = split([blocky(name, sizes[name]) for name in few], **shares)
    other = split([blocky(name, sizes[name]) for name in others], **shares)
    for name in SPLITS:
        both = set(few) & set(others)
        assert {each for each in one[name] if each[0] in both} == {
            each for each in other[name] if each[0] in both
        }


@given(st.integers(0, 60_000), st.integers(0, 60_000), st.integers(0, 50))
def test_nothing_moves_when_a_document_grows(before: int, more: int, seed: int) -> None:
    """From the text itself: the cuts are found again in the longer one."""
    dice = np.random.default_rng(seed)
    raw = bytes(dice.choice(list(b"abcdefgh" * 9 + b"\n"), before + more).astype(np.uint8))

    def placed(text: bytes) -> dict[tuple[str, int], str]:
        cuts = [[place, place] for place in safe_cuts(text)]
        chunk = Chunk(0, 0, len(text), len(text), 0, 0, (), np.array(cuts, "<i8").tobytes())
        these = [Document(b"a", [chunk], bytes(32), 0)]
        return tokens_by_split(split(these, val=0.3, test=0.2, seed=seed))

    short = placed(raw[:before])
    long = placed(raw)
    assert {place: long[place] for place in short} == short


@given(
    st.lists(st.integers(0, 300_000), min_size=1, max_size=8),
    st.integers(0, 10_000),
    st.floats(0, 0.5),
    st.floats(0, 0.4),
)
def test_shares_come_out(lengths: list[int], seed: int, val: float, test: float) -> None:
    """Within two blocks a document, however long it is: what is asked of many blocks is got."""
    these = [blocky(f"d{n}", length) for n, length in enumerate(lengths)]
    found = split(these, val=val, test=test, seed=seed)
    for name, share in (("val", val), ("test", test), ("train", 1 - val - test)):
        for document in these:
            own = sum(stop - start for path, start, stop in found[name]
                      if path == document.path.decode())  # fmt: skip
            assert abs(own - share * document.tokens) <= 2.5 * SMALL_BLOCK


def test_few_documents_get_what_is_asked() -> None:
    """82 documents of 20 KB: whole, 0.15% of them were held out where 5% was asked."""
    sizes = np.random.default_rng(3).integers(2_000, 38_000, 82).tolist()
    for seed in range(20):
        these = [blocky(f"essays/{n}.txt", size) for n, size in enumerate(sizes)]
        found = split(these, seed=seed)
        val = sum(stop - start for _, start, stop in found["val"]) / sum(sizes)
        assert 0.03 < val < 0.07, seed


def test_a_number_of_tokens_cannot_be_a_share_of_blocks() -> None:
    for rule in (BLOCKS, WHOLE):
        message = rf"^val is 3 tokens, but several documents split by {rule.split}; use --split ta"
        with pytest.raises(InputError, match=message):
            split([blocky("a", 9)], rule, val=3)
        with pytest.raises(InputError, match="test is 1 tokens"):
            split([blocky("a", 9)], rule, test=1)


# By place.

TAIL = SplitRule("tail")


def test_tail_splits_are_exact() -> None:
    def counts(size: int, **shares: Any) -> list[int]:
        found = split([blocky("a", size)], TAIL, **shares)
        return [sum(stop - start for _, start, stop in own) for own in found.values()]

    assert counts(100, train=70, val="rest", test=0) == [70, 30, 0]
    assert counts(1_115_394, train=0.9, val="rest", test=0) == [1_003_854, 111_540, 0]
    assert counts(99, val=0.29, test=0.01) == [71, 28, 0]
    assert counts(10, val=4, test=6) == [0, 4, 6]
    with pytest.raises(InputError, match=r"the splits need 1,011 tokens, the corpus has 1,010; lo"):
        counts(1010, val=1005, test=6)


def test_a_tail_cuts_documents_and_separators() -> None:
    these = [blocky("a", 7), blocky("b", 2)]
    # a a a a a a a | | b b | |  with the cuts behind 5 and behind 8.
    assert split(these, TAIL, 2, train=5, val=3, test="rest") == {
        "train": [("a", 0, 5)],
        "val": [("a", 5, 8)],
        "test": [("a", 8, 9), ("b", 0, 4)],
    }


@pytest.mark.parametrize(
    ("lengths", "shares", "expected"),
    [
        # An empty document is where the token behind it is.
        ([2, 0, 2], {"train": 2, "val": 2, "test": "rest"}, ("d1", "val")),
        ([2, 0, 2], {"train": 3, "val": 1, "test": "rest"}, ("d1", "train")),
        ([0, 2], {"train": 1, "val": 1, "test": "rest"}, ("d0", "train")),
        ([0, 2], {"train": 0, "val": 1, "test": "rest"}, ("d0", "val")),
        # At the end of the text it is in the last split that has any.
        ([2, 0], {"train": 1, "val": 1, "test": "rest"}, ("d1", "val")),
        ([2, 0], {"train": 1, "val": 0, "test": "rest"}, ("d1", "test")),
        ([2, 0], {"train": "rest", "val": 0, "test": 0}, ("d1", "train")),
    ],
)
def test_an_empty_document_is_in_one_split(
    lengths: list[int], shares: dict[str, Any], expected: tuple[str, str]
) -> None:
    these = [blocky(f"d{n}", length) for n, length in enumerate(lengths)]
    found = split(these, TAIL, **shares)
    empty = [(path, name) for name, own in found.items() for path, start, stop in own
             if start == stop]  # fmt: skip
    assert empty == [expected]


def test_documents_without_any_token_are_in_every_split() -> None:
    one = [("d", 0, 0)]
    found = split([blocky("d", 0)], TAIL, val=0.1, test=0.1)
    assert found == {"train": one, "val": one, "test": one}


@given(
    st.lists(st.integers(0, 20_000), min_size=1, max_size=6),
    st.integers(0, 3),
    st.sampled_from([BLOCKS, WHOLE, TAIL, SplitRule("interleaved", 0, 5, 3)]),
    st.floats(0, 0.4),
    st.floats(0, 0.4),
)
def test_every_token_is_in_one_split(
    lengths: list[int], separator: int, rule: SplitRule, val: float, test: float
) -> None:
    assume(sum(lengths) + separator)
    if rule.streams:  # too little text for a share is refused
        batches = (sum(lengths) + separator * len(lengths)) // 15
        assume(batches)
        assume(all(not share or int(share * batches) for share in (val, test)))
    these = [blocky(f"d{n}", length) for n, length in enumerate(lengths)]
    found = stretches(these, corpus_config(val=val, test=test), rule, separator)
    assert list(found) == list(SPLITS)
    stretches_of: dict[bytes, list[Stretch]] = {each.path: [] for each in these}
    for own in found.values():
        for each in own:
            stretches_of[each.document.path].append(each)
        order = [(each.document.path, each.start) for each in own]
        assert order == sorted(order)
    for document in these:
        place = 0
        for each in sorted(stretches_of[document.path], key=lambda each: each.start):
            assert each.start == place
            place = each.stop
        assert place == document.tokens + separator


# What decides.

SETTINGS = {
    "seed": 3, "train": "rest", "val": 0.1, "test": 0.0, "unit": "byte", "chunk_bytes": 1024,
    "newlines": "lf", "nfc": False, "decoding": "replace", "name": "x", "min_count": 2,
}  # fmt: skip


def test_a_division_is_all_that_decides() -> None:
    blocks = Division.of(BLOCKS, SETTINGS)
    assert blocks == Division(
        split="block", seed=3, train="rest", val=0.1, test=0.0, block_bytes=2048, chunk_bytes=1024,
        newlines="lf", nfc=False, replaces=False,
    )  # fmt: skip
    # Bytes are decoded for NFC alone; only then anything is replaced.
    assert Division.of(BLOCKS, {**SETTINGS, "nfc": True}).replaces
    assert Division.of(BLOCKS, {**SETTINGS, "nfc": True}).nfc is True
    assert blocks.nfc is False
    assert Division.of(BLOCKS, {**SETTINGS, "unit": "char"}).replaces
    assert not Division.of(BLOCKS, {**SETTINGS, "unit": "char", "decoding": "skip"}).replaces
    whole = Division.of(WHOLE, SETTINGS)
    assert whole == Division(split="document", seed=3, train="rest", val=0.1, test=0.0)
    assert Division(**blocks.to_json()) == blocks


def test_divisions_say_what_differs() -> None:
    one = Division.of(BLOCKS, SETTINGS)
    assert one.differences(one) == []
    other = Division.of(BLOCKS, {**SETTINGS, "seed": 4, "val": 0.2, "min_count": 1, "name": "y"})
    assert one.differences(other) == ["seed 3, not 4", "val 0.1, not 0.2"]
    large = Division.of(SplitRule("block", LARGE_BLOCK), SETTINGS)
    assert one.differences(large) == ["block_bytes 2048, not 1048576"]


def test_a_tail_runs_over_many_documents() -> None:
    these = [blocky(name, tokens) for name, tokens in (("a", 10), ("b", 20), ("c", 5), ("d", 40))]
    found = split(these, SplitRule("tail"), 1, val=30, test=4)
    assert found == {
        "train": [("a", 0, 11), ("b", 0, 21), ("c", 0, 6), ("d", 0, 7)],
        "val": [("d", 7, 37)],
        "test": [("d", 37, 41)],
    }


def test_streams_run_over_many_documents() -> None:
    """38 tokens with their separators, 2 streams in steps of 3: six batches, 2 tokens left."""
    these = [blocky(name, tokens) for name, tokens in (("a", 13), ("b", 0), ("c", 21))]
    rule = SplitRule("interleaved", 0, 2, 3)
    # a: 0-14, its separator 13. b: 14, a separator alone. c: 15-37, its separator 36.
    found = split(these, rule, 1, val=0.34, test=0.17)
    assert found == {
        "train": [("a", 0, 9), ("c", 3, 12), ("c", 21, 22)],
        "val": [("a", 9, 14), ("b", 0, 1), ("c", 12, 18)],
        "test": [("c", 0, 3), ("c", 18, 21)],
    }


def test_an_empty_document_between_streams_is_in_one_split() -> None:
    these = [blocky("a", 6), blocky("b", 0), blocky("c", 6), blocky("d", 0)]
    found = split(these, SplitRule("interleaved", 0, 2, 3), val=0.5, test=0)
    assert found == {
        "train": [("a", 0, 3), ("b", 0, 0), ("c", 0, 3)],
        "val": [("a", 3, 6), ("c", 3, 6), ("d", 0, 0)],
        "test": [],
    }


def test_the_streams_are_a_part_of_the_division() -> None:
    one = Division.of(SplitRule("interleaved", 0, 5, 3), SETTINGS)
    assert (one.streams, one.stream_seq_len, one.block_bytes) == (5, 3, 0)
    assert Division(**one.to_json()) == one
    other = Division.of(SplitRule("interleaved", 0, 6, 3), SETTINGS)
    assert one.differences(other) == ["streams 5, not 6"]
    # The tags of models that were trained before there were streams are what they would be now.
    assert "streams" not in Division.of(BLOCKS, SETTINGS).to_json()
    assert one.differences(Division.of(TAIL, SETTINGS)) == [
        "split interleaved, not tail", "streams 5, not 0", "stream_seq_len 3, not 0",
    ]  # fmt: skip
