"""Staged text to shard files: the planned tokens, the bytes they stand for, the unknown symbols."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.corpora import shards
from pipeline.corpora.documents import Chunk, Document
from pipeline.corpora.encode import chunk_groups, count_pieces, encode_shard
from pipeline.corpora.layout import SEPARATOR_UNIT, Piece, Shard
from pipeline.corpora.manifest_data import ShardEntry
from pipeline.corpora.vocab import Unit, Vocab
from pipeline.errors import InputError

TEXTS = ["aé€𝄞b".encode(), b"second", "é".encode()]


@pytest.fixture
def staging(tmp_path: Path) -> str:
    """Three staged chunks: two in the blob of unit 3, one in that of unit 12."""
    (tmp_path / "unit-00003.bin").write_bytes(TEXTS[0] + TEXTS[1])
    (tmp_path / "unit-00012.bin").write_bytes(b"----" + TEXTS[2])
    return str(tmp_path)


def piece(number: int, skip: int, take: int) -> Piece:
    """Tokens of one of the three chunks."""
    unit, offset = [(3, 0), (3, len(TEXTS[0])), (12, 4)][number]
    return Piece(unit, offset, len(TEXTS[number]), skip, take)


def separator(skip: int, take: int) -> Piece:
    return Piece(SEPARATOR_UNIT, 0, 0, skip, take)


def written(staging: str, target: Path, pieces: list[Piece], vocab: Vocab) -> ShardEntry:
    return encode_shard(Shard("val", 7, pieces), staging, vocab, "|ß".encode(), str(target))


def tokens_of(target: Path, entry: ShardEntry) -> list[int]:
    tokens = shards.open_shard(str(target / entry.file))
    assert len(tokens) == entry.tokens
    return tokens.tolist()


def check_file(target: Path, name: str, size: int, sha256: str) -> None:
    data = (target / name).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (size, sha256)


def test_a_shard_holds_the_planned_tokens(staging: str, tmp_path: Path) -> None:
    vocab = Vocab("char", sorted(set(map(ord, "aé€𝄞bsecond|ß"))))
    pieces = [piece(0, 1, 3), separator(0, 2), piece(2, 0, 1), piece(1, 5, 1), separator(1, 1)]
    entry = written(staging, tmp_path / "v", pieces, vocab)
    assert vocab.decode(tokens_of(tmp_path / "v", entry)).decode() == "é€𝄞|ßédß"
    assert (entry.file, entry.tokens, entry.unknown) == ("val-00007.arrow", 8, None)
    # 2 + 3 + 4, 1 + 2, 2, 1, 2
    assert entry.text_bytes == 17
    check_file(tmp_path / "v", entry.file, entry.bytes, entry.sha256)
    assert {path.name for path in (tmp_path / "v").iterdir()} == {"val-00007.arrow"}


def test_a_byte_stands_for_itself(staging: str, tmp_path: Path) -> None:
    vocab = Vocab("byte", range(256))
    pieces = [piece(0, 1, 4), separator(1, 2), piece(1, 0, 6)]
    entry = written(staging, tmp_path / "v", pieces, vocab)
    assert bytes(tokens_of(tmp_path / "v", entry)) == TEXTS[0][1:5] + "ß".encode() + TEXTS[1]
    assert (entry.tokens, entry.text_bytes) == (12, 12)


def test_unknown_symbols_are_kept_beside_the_shard(staging: str, tmp_path: Path) -> None:
    vocab = Vocab("char", [None, *sorted(map(ord, "abcdenos|"))])
    pieces = [piece(1, 0, 6), piece(0, 0, 5), separator(0, 2), piece(2, 0, 1)]
    entry = written(staging, tmp_path / "v", pieces, vocab)
    shown = vocab.decode(tokens_of(tmp_path / "v", entry)).decode()
    assert shown == "seconda\ufffd\ufffd\ufffdb|\ufffd\ufffd"
    assert entry.text_bytes == 6 + len(TEXTS[0]) + 3 + 2
    assert entry.unknown is not None
    unknown = entry.unknown
    assert unknown.file == "val-00007.unknown.arrow"
    check_file(tmp_path / "v", unknown.file, unknown.bytes, unknown.sha256)
    positions, symbols = shards.open_unknown(str(tmp_path / "v" / unknown.file))
    assert positions.tolist() == [7, 8, 9, 12, 13]
    assert "".join(map(chr, symbols)) == "é€𝄞ßé"
    assert positions.dtype == symbols.dtype == np.uint32


def test_a_shard_without_unknown_symbols_has_no_such_file(staging: str, tmp_path: Path) -> None:
    vocab = Vocab("byte", [None, *sorted(set(b"second"))])
    entry = written(staging, tmp_path / "v", [piece(1, 0, 6)], vocab)
    assert entry.unknown is None
    assert [path.name for path in (tmp_path / "v").iterdir()] == ["val-00007.arrow"]
    one = written(staging, tmp_path / "v", [piece(1, 0, 6), piece(2, 0, 1)], vocab)
    assert one.unknown is not None


def test_the_same_plan_gives_the_same_bytes(staging: str, tmp_path: Path) -> None:
    vocab = Vocab("char", [None, ord("e")])
    pieces = [piece(1, 0, 6), piece(0, 2, 2)]
    one = written(staging, tmp_path / "1", pieces, vocab)
    assert written(staging, tmp_path / "2", pieces, vocab) == one


def test_a_symbol_outside_the_vocabulary_is_refused(staging: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="symbols outside the vocabulary: 'c'"):
        written(staging, tmp_path / "v", [piece(1, 0, 6)], Vocab("char", sorted(map(ord, "seond"))))


@pytest.mark.parametrize(
    ("text", "size"),
    [("\x7f", 1), ("\x80", 2), ("\u07ff", 2), ("\u0800", 3), ("\uffff", 3), ("\U00010000", 4)],
)
def test_text_bytes_are_those_of_utf_8(tmp_path: Path, text: str, size: int) -> None:
    (tmp_path / "unit-00000.bin").write_bytes(text.encode())
    shard = Shard("train", 0, [Piece(0, 0, len(text.encode()), 0, 1)])
    entry = encode_shard(shard, str(tmp_path), Vocab("char", [ord(text)]), b"", str(tmp_path))
    assert entry.text_bytes == size == len(text.encode())


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("byte", {ord("s"): 1, 0xC3: 2, 0xA9: 2}), ("char", {ord("s"): 1, 0xE9: 2, ord("b"): 1})],
)
def test_whole_chunks_are_counted(staging: str, unit: Unit, expected: dict[int, int]) -> None:
    # What is to be skipped or taken is the layout's business: there is none yet.
    counts = count_pieces([piece(0, 0, 1), piece(1, 0, 1), piece(2, 0, 1)], staging, unit)
    assert {symbol: counts[symbol] for symbol in expected} == expected
    texts = b"".join(TEXTS)
    assert sum(counts.values()) == (len(texts) if unit == "byte" else len(texts.decode()))
    assert count_pieces([], staging, unit) == {}


def document(*chunks: tuple[int, int, int]) -> Document:
    """A document of chunks (unit, offset, bytes), each of half as many tokens as bytes."""
    made = [Chunk(unit, offset, size, size // 2, 0, size) for unit, offset, size in chunks]
    return Document(b"x", made, bytes(32), 0)


def test_counting_reads_what_is_staged_in_order() -> None:
    these = [document((1, 10, 4), (0, 6, 6)), document((0, 0, 6), (1, 0, 10))]
    pieces = [
        Piece(0, 0, 6, 0, 3),
        Piece(0, 6, 6, 0, 3),
        Piece(1, 0, 10, 0, 5),
        Piece(1, 10, 4, 0, 2),
    ]
    assert chunk_groups(these, 1000) == [pieces]
    assert chunk_groups(these, 13) == [pieces[:3], pieces[3:]]
    # A group is closed once it is full: 12 bytes are not too few for 12.
    assert chunk_groups(these, 12) == [pieces[:2], pieces[2:]]
    assert chunk_groups(these, 6) == [[pieces[0]], [pieces[1]], [pieces[2]], [pieces[3]]]
    assert chunk_groups([], 12) == [[]]
