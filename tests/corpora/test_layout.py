from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.layout import SPLITS, Chunk, Document, lay_out


def documents(lengths: list[int]) -> list[Document]:
    return [
        Document(f"d{n}".encode(), [Chunk(n, 0, length, length, 0, length)], bytes(32), 0)
        for n, length in enumerate(lengths)
    ]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=20), st.integers(0, 3), st.integers(1, 50),
       st.sampled_from(["document", "tail"]), st.floats(0, 0.4), st.floats(0, 0.4))  # fmt: skip
def test_shards_hold_every_token_exactly_once(
    lengths: list[int], separator: int, shard: int, split: str, val: float, test: float
) -> None:
    config = CorpusConfig(name="x", source="x", split=split, val=val, test=test)  # type: ignore[arg-type]
    assume(sum(lengths) + separator)  # a corpus without text is refused before
    layout = lay_out(documents(lengths), config, separator, shard)
    assert sum(layout.tokens.values()) == sum(lengths) + separator * len(lengths)
    seen = [
        (piece.unit, token) for s in layout.shards for piece in s.pieces if piece.unit >= 0
        for token in range(piece.skip, piece.skip + piece.take)
    ]  # fmt: skip
    assert sorted(seen) == [
        (n, token) for n, length in enumerate(lengths) for token in range(length)
    ]
    for name in SPLITS:
        own = [s for s in layout.shards if s.split == name]
        assert sum(s.tokens for s in own) == layout.tokens[name]
        assert all(s.tokens == shard for s in own[:-1])
    for placed in layout.placed:
        assert 0 <= placed.offset <= layout.tokens[placed.split]
    assert {placed.document.path for placed in layout.placed} == {
        f"d{n}".encode() for n in range(len(lengths))
    }


def test_a_document_keeps_its_split_when_others_come() -> None:
    config = CorpusConfig(name="x", source="x", split="document", val=0.3, test=0.3)
    few, many = (
        lay_out(documents([5] * 20), config, 0, 100),
        lay_out(documents([5] * 40), config, 0, 100),
    )
    before = {placed.document.path: placed.split for placed in few.placed}
    after = {placed.document.path: placed.split for placed in many.placed}
    assert before == {path: after[path] for path in before}
    assert len(set(before.values())) == 3


def test_tail_splits_are_exact() -> None:
    config = CorpusConfig(name="x", source="x", split="tail", train=70, val="rest", test=0)
    assert lay_out(documents([100]), config, 0, 1000).tokens == {"train": 70, "val": 30, "test": 0}
    nanogpt = CorpusConfig(name="x", source="x", train=0.9, val="rest", test=0)
    assert lay_out(documents([1_115_394]), nanogpt, 0, 10**7).tokens == {
        "train": 1_003_854,
        "val": 111_540,
        "test": 0,
    }
