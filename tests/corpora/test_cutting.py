"""Cuts are safe, and at the same places however a document is read."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpora.cutting import cut_place, cut_window, range_chunks, stream_chunks
from pipeline.corpora.text import prepare

from .conftest import corpus_config

KANA = "\u3042"  # three bytes, and joins nothing
ACUTE = "\u0301"  # two bytes: a mark
SYLLABLE = "\u1112\u1161\u11ab"  # nine bytes: one Hangul syllable, as three jamo


@pytest.mark.parametrize(
    ("chunk_bytes", "window"),
    [
        (1024, 512),
        (1025, 512),
        (2 << 20, 1 << 20),
        ((2 << 20) - 2, (1 << 20) - 1),
        (1 << 30, 1 << 20),
    ],
)
def test_two_cuts_never_meet(chunk_bytes: int, window: int) -> None:
    assert cut_window(chunk_bytes) == window


@pytest.mark.parametrize(
    ("data", "behind", "place"),
    [
        (b"abc", b"x", 0),
        (b"\nabc", b"\r", 1),  # a CRLF stays together
        (b"\n\nabc", b"x", 1),
        ("éa".encode(), b"x", 2),
        ("éa".encode(), b"\n", 0),  # nothing composes with LF
        (ACUTE.encode() + b"a", b"e", 2),  # a mark stays with its base
        (b"\x7fa", b"\xe9", 0),
        (b"\x80\x00", b"\xe9", 1),
        (b"\x0b", b"\r", 0),
        (b"\x09", b"\r", 0),
        ("éé".encode(), b"x", None),  # the document ends first
        (b"\n", b"x", None),
        ("é\n".encode(), b"x", None),  # no byte is left for a chunk of its own
        (b"", b"\n", None),
    ],
)
def test_the_first_safe_place_is_taken(data: bytes, behind: bytes, place: int | None) -> None:
    assert cut_place(data, behind, 10) == place


def test_what_lies_behind_the_window_is_not_looked_at() -> None:
    data = ("é" * 5).encode()
    assert cut_place(data + b"a", b"x", 10) == 8
    assert cut_place(data + b"a", b"x", 11) == 10
    assert cut_place(data, b"x", 11) is None
    assert cut_place(data, b"x", 10) == 8


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (KANA * 10, 27),
        (KANA * 5 + ACUTE * 7 + "é", 29),
        (KANA + ACUTE * 14, 0),
        (ACUTE * 15, 28),  # only marks: at least no UTF-8 sequence is cut
        (KANA * 2 + SYLLABLE * 2 + "\u11ab\u1161", 6 + 9),
        ("\u115f" * 10, 27),
        ("\u1160" * 10, 27),
        ("\u1200" + "\u11ff" * 9, 0),
        ("\u115f" + "\u1160" * 9, 0),
        ("𝄞" * 8, 28),
        ("é" * 14 + "𝄞", 28),
        (KANA + "\u20dd" * 9, 0),  # an enclosing mark, of combining class 0
        (KANA + "\u0903" * 9, 0),  # a spacing mark
    ],
)
def test_text_without_ascii_is_cut_before_what_joins_nothing(text: str, place: int) -> None:
    data = text.encode()
    assert cut_place(data, b"\x81", len(data)) == place


def test_a_character_that_the_window_cuts_off_is_not_cut_before() -> None:
    data = (KANA * 4).encode()
    assert cut_place(data, b"\x81", 12) == 9
    assert cut_place(data, b"\x81", 11) == 6
    assert cut_place(data, b"\x81", 10) == 6


def test_binary_data_is_cut_somewhere() -> None:
    assert cut_place(b"\x81" * 64, b"\x81", 64) == 63
    assert cut_place(b"\x81" * 9 + b"\xff" + b"\x81" * 54, b"\x81", 64) == 9
    # A broken sequence in front of a whole one is not the whole one.
    assert cut_place(KANA.encode() + b"\xff" * 61, b"\x81", 64) == 0
    broken = KANA.encode() + b"\xe3\x81" + KANA.encode()
    assert cut_place(broken, b"\x81", len(broken)) == 5
    assert cut_place(KANA.encode() + b"\xe3\x81\xc3\x81", b"\x81", 7) == 5


def test_only_the_windows_end_is_searched_where_no_place_is_safe() -> None:
    marks = (ACUTE * 512).encode()
    assert cut_place(b"\x81" * 997 + KANA.encode() + marks[3:], b"\x81", 2021) == 997
    assert cut_place(b"\x81" * 996 + KANA.encode() + marks[2:], b"\x81", 2021) == 2019


def chunks(raw: bytes, chunk_bytes: int = 1024) -> list[tuple[int, bytes]]:
    return list(stream_chunks(io.BytesIO(raw), chunk_bytes))


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 1536, 2047, 2048, 2049, 5000])
def test_ascii_is_cut_at_the_multiples_themselves(size: int) -> None:
    raw = b"x" * size
    expected = [(start, raw[start : start + 1024]) for start in range(0, size, 1024)]
    assert chunks(raw) == (expected or [(0, b"")])


class Slow:
    """A stream that gives at most a few bytes at a time, and never after its end."""

    def __init__(self, raw: bytes, step: int) -> None:
        self.raw = io.BytesIO(raw)
        self.step = step
        self.ended = False

    def read(self, size: int) -> bytes:
        assert not self.ended
        assert size > 0
        data = self.raw.read(min(size, self.step))
        self.ended = not data
        return data


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_stream_may_give_less_than_it_is_asked_for(step: int) -> None:
    raw = ("text é " * 500).encode()
    assert list(stream_chunks(Slow(raw, step), 1024)) == chunks(raw)


def test_memory_holds_a_chunk_and_a_window() -> None:
    sizes = []

    class Asked(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            sizes.append(size)
            return super().read(size)

    list(stream_chunks(Asked(b"x" * 5000), 1024))
    assert sizes[:3] == [1024 + 512, 1024, 1024]


def ranges(raw: bytes, chunk_bytes: int = 1024) -> list[tuple[int, bytes]]:
    """All chunks of a file that is read in ranges."""
    made: list[tuple[int, bytes]] = []
    for start in range(0, max(1, len(raw)), chunk_bytes):
        stop = min(start + chunk_bytes, len(raw))
        read: list[tuple[int, int]] = []

        def reader(low: int, high: int, read: list[tuple[int, int]] = read) -> bytes:
            read.append((low, high))
            return raw[low:high]

        made += range_chunks(reader, len(raw), start, stop, chunk_bytes)
        window = chunk_bytes // 2
        assert read == [(max(0, start - 1), min(len(raw), stop + window))]
    return made


PARTS = ["\n", "\r\n", "e\u0301", KANA, "x", ACUTE, "\r", SYLLABLE, KANA * 200, ACUTE * 400]


@settings(max_examples=150)
@given(st.lists(st.sampled_from(PARTS), min_size=30, max_size=300))
def test_cuts_cross_no_sequence_pair_or_composition(parts: list[str]) -> None:
    raw = "".join(parts).encode()
    config = corpus_config(unit="char", newlines="lf", nfc=True)
    made = chunks(raw)
    assert b"".join(chunk for _, chunk in made) == raw
    lengths = [len(chunk) for _, chunk in made]
    assert [start for start, _ in made] == [sum(lengths[:n]) for n in range(len(made))]
    assert ranges(raw) == made
    # 400 marks in a row are more than a window: there nothing can be promised but whole sequences.
    for _, chunk in made:
        chunk.decode()
    if ACUTE * 400 not in parts:
        whole = prepare(raw, config, starts_document=False).text
        alone = [prepare(chunk, config, starts_document=False).text for _, chunk in made]
        assert b"".join(alone) == whole


@given(st.binary(max_size=6000), st.sampled_from([1024, 1500]))
def test_any_bytes_are_cut_alike_as_stream_and_in_ranges(raw: bytes, chunk_bytes: int) -> None:
    assert ranges(raw, chunk_bytes) == chunks(raw, chunk_bytes)


@pytest.mark.parametrize("byte", [b"\x81", b"\xff", b"\n", b"\r", b"x"])
@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 1536, 1537, 2048, 4000])
def test_a_file_of_one_byte_is_cut_alike_too(byte: bytes, size: int) -> None:
    raw = byte * size
    assert ranges(raw) == chunks(raw)
    assert b"".join(chunk for _, chunk in chunks(raw)) == raw


def test_a_range_without_a_cut_of_its_own_is_empty() -> None:
    # The only safe place behind 1024 and behind 2048 is one: the range between them has no chunk.
    raw = b"x" * 1000 + KANA.encode() * 100
    made = range_chunks(lambda low, high: raw[low:high], len(raw), 1024, len(raw), 1024)
    assert list(made) == []
    first = range_chunks(lambda low, high: raw[low:high], len(raw), 0, 1024, 1024)
    assert list(first) == [(0, raw)]
    assert list(range_chunks(lambda low, high: b"", 0, 0, 0, 1024)) == [(0, b"")]


def test_hangul_is_cut_where_nothing_composes() -> None:
    raw = (SYLLABLE * 300 + KANA + SYLLABLE * 60).encode() * 3
    config = corpus_config(unit="char", nfc=True)
    made = [chunk for _, chunk in chunks(raw)]
    assert len(made) > 3
    assert b"".join(made) == raw
    whole = unicodedata.normalize("NFC", raw.decode()).encode()
    alone = [prepare(chunk, config, starts_document=False).text for chunk in made]
    assert b"".join(alone) == whole
