"""Where text may be cut into blocks: at safe places, which what comes behind them does not move."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora.blocks import CUT_BYTES, block_starts, packed_cuts, safe_cuts
from pipeline.corpora.documents import Chunk, Document

LINE = b"x" * 79 + b"\n"


def cuts(text: bytes, tokens: int | None = None) -> list[list[int]]:
    packed = packed_cuts(text, len(text) if tokens is None else tokens)
    return np.frombuffer(packed, "<i8").reshape(-1, 2).tolist()


def test_a_cut_lies_behind_the_first_line_feed() -> None:
    assert CUT_BYTES == 2048
    assert safe_cuts(LINE * 80) == [2080, 4160, 6160]
    # One just in front of the multiple makes the multiple itself a place.
    assert safe_cuts(b"x" * 2047 + b"\n" + b"y" * 10) == [2048]
    assert safe_cuts(b"x" * 2046 + b"\n" + b"y" * 1000) == []
    assert safe_cuts(b"x" * 3071 + b"\n" + b"y") == [3072]
    assert safe_cuts(b"x" * 2048 + b"\r\n" + b"y" * 2000) == [2050]


def test_without_a_line_feed_it_lies_a_kibibyte_behind() -> None:
    assert safe_cuts(b"x" * 3073) == [3072]
    assert safe_cuts(b"x" * 10_000) == [3072, 5120, 7168, 9216]
    # A line feed here may be the second half of a CRLF; so may one further on.
    assert safe_cuts(b"x" * 3071 + b"\r\n" + b"y" * 9) == [3073]
    assert safe_cuts(b"x" * 3071 + b"\r" + b"y" * 9) == [3072]


@pytest.mark.parametrize("end", [0, 1, 2048, 2052, 3071, 3072])
def test_where_the_text_ends_first_there_is_no_cut(end: int) -> None:
    assert safe_cuts(b"x" * end) == []
    assert packed_cuts(b"x" * end, end) == b""


def test_a_line_feed_at_the_end_begins_no_block() -> None:
    assert safe_cuts(b"x" * 2052 + b"\n") == []
    assert safe_cuts(b"x" * 2052 + b"\ny") == [2053]


def test_characters_and_their_marks_stay_together() -> None:
    wide = "x" + "\u3042" * 1200  # three bytes each
    assert safe_cuts(wide.encode()) == [3073]
    marked = "x" * 3071 + "e" + "\u0301" * 10 + "z"
    assert safe_cuts(marked.encode()) == [3092]
    # The vowel of a Hangul syllable joins the consonant before it.
    jamo = "x" * 3069 + "\u1112\u1161\u11ab" + "z"
    assert safe_cuts(jamo.encode()) == [3078]


def test_marks_without_end_are_cut_between_characters() -> None:
    marks = "x" * 2048 + "\u0301" * 1200
    assert safe_cuts(marks.encode()) == [3584]
    three = "x" * 2047 + "\u20d0" * 1000
    assert safe_cuts(three.encode()) == [3586]
    # As long as they may end, they do not begin a block.
    assert safe_cuts("\u0301".encode() * 1792) == []
    assert safe_cuts("\u0301".encode() * 1793) == [3584]


def test_bytes_that_are_no_text_are_cut_all_the_same() -> None:
    assert safe_cuts(b"\x80" * 5_000) == [3584]
    assert safe_cuts(b"\x80" * 3587) == []
    assert safe_cuts(b"\x80" * 3588) == [3584]
    assert safe_cuts(b"\x80" * 3585 + b"x") == [3585]
    # A lone lead byte in front of a letter is no character.
    assert safe_cuts(b"x" * 3072 + b"\xc3" + b"yz") == [3073]


def test_cuts_count_tokens_too() -> None:
    assert cuts(LINE * 55) == [[2080, 2080], [4160, 4160]]
    text = "\u00e9" * 39 + "\n"  # 79 bytes, 40 characters
    raw = (text * 60).encode()
    assert cuts(raw, 40 * 60) == [[2054, 1040], [4108, 2080]]
    for byte, token in cuts(raw, 40 * 60):
        assert len(raw[:byte].decode()) == token


alphabets = st.sampled_from(
    [
        ["x", "\n"],
        ["x", "\r\n", "\r", "y" * 300],
        ["e\u0301", "\u0301", "\u3042", "q\u0323\u0307"],
        ["\u1112\u1161\u11ab", "\U0001d11e", "z" * 77 + "\n"],
    ]
)


def long_text(alphabet: list[str], seed: int, size: int) -> str:
    dice = np.random.default_rng(seed)
    return "".join(alphabet[n] for n in dice.integers(0, len(alphabet), size))


@given(alphabets, st.integers(0, 1000), st.integers(0, 9000))
def test_nothing_is_torn_apart(alphabet: list[str], seed: int, size: int) -> None:
    raw = unicodedata.normalize("NFC", long_text(alphabet, seed, size)).encode()
    places = safe_cuts(raw)
    assert [place // CUT_BYTES for place in places] == list(range(1, len(places) + 1))
    assert len(places) >= (len(raw) - 1600) // CUT_BYTES
    edges = [0, *places, len(raw)]
    blocks = [raw[low:high] for low, high in pairwise(edges)]
    texts = [block.decode() for block in blocks]
    if places:
        assert all(blocks)
    for one, other in pairwise(blocks):
        assert not (one.endswith(b"\r") and other.startswith(b"\n"))
    # Marks alone may be cut.
    if "\u0301" not in alphabet:
        composed = "".join(unicodedata.normalize("NFC", text) for text in texts)
        assert composed == unicodedata.normalize("NFC", raw.decode())


@given(alphabets, st.integers(0, 1000), st.integers(0, 9000), st.data())
def test_what_is_appended_moves_no_cut(
    alphabet: list[str], seed: int, size: int, data: st.DataObject
) -> None:
    text = long_text(alphabet, seed, size)
    raw = text.encode()
    shorter = text[: data.draw(st.integers(0, len(text)))].encode()
    places = safe_cuts(raw)
    assert safe_cuts(shorter) == [place for place in places if place < len(shorter)]


def document(*chunks: tuple[int, int, list[list[int]]]) -> Document:
    """A document of chunks (bytes, tokens, cuts)."""
    made = [
        Chunk(0, 0, size, tokens, 0, size, (), np.array(own, "<i8").tobytes())
        for size, tokens, own in chunks
    ]
    return Document(b"x", made, bytes(32), 0)


def test_blocks_begin_behind_multiples_of_their_size() -> None:
    one = document((10_000, 5000, [[4100, 2050], [8300, 4150]]))
    assert block_starts(one, 4096) == [0, 2050, 4150]
    assert block_starts(one, 8192) == [0, 4150]
    assert block_starts(one, 9999) == [0]
    assert block_starts(one, 10_000) == [0]
    assert block_starts(document((0, 0, [])), 4096) == [0]


def test_a_chunk_begins_at_a_place_for_a_block() -> None:
    # The second chunk is at byte 4090, in front of the multiple, and its cut at 8190.
    two = document((4090, 4090, []), (8000, 8000, [[4100, 4100]]))
    assert block_starts(two, 4096) == [0, 8190]
    assert block_starts(document((4096, 4096, []), (10, 5, [])), 4096) == [0, 4096]
    # Small chunks make up a block; a chunk without text makes none.
    small = document(*[(1000, 500, [])] * 10)
    assert block_starts(small, 4096) == [0, 2500, 4500]
    assert block_starts(document((5000, 5000, []), (0, 0, []), (1, 1, [])), 4096) == [0, 5000]
    assert block_starts(document((5000, 5000, []), (0, 0, [])), 4096) == [0]


def test_multiples_may_be_passed_over() -> None:
    far = document((20_000, 20_000, [[12_290, 12_290], [12_300, 12_300], [16_390, 16_390]]))
    assert block_starts(far, 4096) == [0, 12_290, 16_390]


def test_a_place_in_front_of_a_multiple_begins_no_block() -> None:
    assert block_starts(document((9000, 9000, [[4095, 4095], [4200, 4200]])), 4096) == [0, 4200]
    later = document((4095, 4095, []), (5000, 5000, [[200, 200]]))
    assert block_starts(later, 4096) == [0, 4295]


def test_no_place_is_looked_for_beyond_the_marks() -> None:
    marks = ("x" * 3071 + "\u0301" * 600 + "abc").encode()
    assert safe_cuts(marks)[0] == 3072 + 512 + 1  # between two marks of two bytes each
    broken = b"x" * 2048 + b"\x80" * 2000 + b"x" * 100
    assert safe_cuts(broken)[0] == 3072 + 512
