"""Decoding and normalising: the text is what Python makes of it, and every change is known."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora import text as text_module
from pipeline.corpora.text import BOM, Prepared, UndecodableError, prepare, source_offset, unpacked

from .conftest import corpus_config

TEXT = st.text(alphabet=st.sampled_from("ab \r\n\té\u0301\u0300e\u1100\u1161𝄞\u3042"), max_size=200)


@pytest.fixture(scope="module", autouse=True)
def _joining_is_known() -> None:
    """Made once, and not within the time that hypothesis gives to an example."""
    text_module._joining()


def prepared(raw: bytes, *, starts_document: bool = True, **changes: object) -> Prepared:
    return prepare(raw, corpus_config(**changes), starts_document=starts_document)


def expected(text: str, newlines: str, nfc: bool) -> str:
    if newlines == "lf":
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", text) if nfc else text


@given(TEXT, st.sampled_from(["keep", "lf"]), st.booleans(), st.booleans())
def test_prepared_text_is_the_normalised_text(
    text: str, newlines: str, nfc: bool, bom: bool
) -> None:
    raw = (BOM if bom else b"") + text.encode()
    made = prepared(raw, unit="char", newlines=newlines, nfc=nfc)
    assert made.text.decode() == expected(text, newlines, nfc)


@given(TEXT, st.booleans(), st.booleans())
def test_every_offset_leads_back_to_its_source(text: str, nfc: bool, bom: bool) -> None:
    raw = (BOM if bom else b"") + text.encode()
    made = prepared(raw, unit="char", newlines="lf", nfc=nfc)
    offsets = [source_offset(unpacked(made.anchors), offset) for offset in range(len(made.text))]
    assert offsets == sorted(offsets)
    for ours, source in zip(made.text, offsets, strict=True):
        theirs = raw[source]
        # A character that normalisation leaves alone is at its own place: no other stands for it.
        if ours in b"b \t" or (ours in b"ae" and not nfc):
            assert ours == theirs
        if ours == 0x0A:
            assert theirs in b"\r\n"


@given(TEXT, st.booleans())
def test_composed_characters_lead_back_to_their_base(text: str, bom: bool) -> None:
    raw = (BOM if bom else b"") + text.encode()
    made = prepared(raw, unit="char", nfc=True)
    # Nothing composes across a 'b': each keeps its place, whatever composes around it.
    ours = [offset for offset, byte in enumerate(made.text) if byte == ord("b")]
    theirs = [offset for offset, byte in enumerate(raw) if byte == ord("b")]
    assert [source_offset(unpacked(made.anchors), offset) for offset in ours] == theirs


# Whatever may compose or be put in another order: bases, marks, Hangul, compatibility ideographs.
COMPOSABLE = (
    "aeo \n\u0301\u0323\u0308\u304b\u3099\u65e5\u8a9e\u1112\u1161\u11ab\ud558\u2126\uf900\u1e69"
)
OTHERS = "\U0001d11e\U0001d15e\u09c7\u09be"
ANY = st.text(
    st.sampled_from(COMPOSABLE + OTHERS) | st.characters(exclude_categories=["Cs"]), max_size=99
)


@given(ANY)
def test_characters_that_nfc_leaves_alone_keep_their_places(text: str) -> None:
    raw = text.encode()
    made = prepared(raw, unit="char", nfc=True)
    assert made.text.decode() == unicodedata.normalize("NFC", text)
    anchors = unpacked(made.anchors)
    # Nothing composes across a character that joins no other, nor across the one behind it.
    place = 0
    exact = {}
    for index, char in enumerate(text):
        following = text[index + 1 : index + 2]
        is_alone = not text_module.joins(char) and not (following and text_module.joins(following))
        if is_alone and unicodedata.is_normalized("NFC", char):
            ours = unicodedata.normalize("NFC", text[:index]).encode()
            exact[len(ours)] = place
        place += len(char.encode())
    assert {offset: source_offset(anchors, offset) for offset in exact} == exact


def test_what_stands_beside_a_composition_is_exact() -> None:
    raw = unicodedata.normalize("NFD", "が日本語").encode()
    made = prepared(raw, unit="char", nfc=True)
    assert made.text.decode() == "が日本語"
    places = [source_offset(unpacked(made.anchors), offset) for offset in (0, 3, 6, 9)]
    assert places == [0, 6, 9, 12]
    # The lower mark composes; the upper one is left alone, behind it.
    made = prepared("o\u0323\u0301b".encode(), unit="char", nfc=True)
    assert made.text.decode() == "\u1ecd\u0301b"
    places = [source_offset(unpacked(made.anchors), offset) for offset in (0, 3, 5)]
    assert places == [0, 3, 5]


def test_all_that_may_compose_is_known() -> None:
    every = list(map(chr, [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]))
    for char in every:
        parts = unicodedata.normalize("NFD", char)
        # A composition's parts: all but the first join what stands before them.
        if len(parts) > 1:
            assert all(map(text_module.joins, parts[1:])), hex(ord(char))
    assert text_module._joining() == set(filter(text_module.joins, every))
    assert list(text_module._clusters("\u0301ab\u0301\u0323c")) == [
        (0, "\u0301"),
        (1, "a"),
        (2, "b\u0301\u0323"),
        (5, "c"),
    ]


def test_a_place_is_found_in_a_logarithm_of_the_anchors() -> None:
    class Counted:
        """A million anchors that count how many are looked at."""

        looked_at = 0

        def __len__(self) -> int:
            return 1_000_000

        def __getitem__(self, index: int) -> tuple[int, int]:
            self.looked_at += 1
            return index * 10, index * 11

    anchors: Any = Counted()
    assert source_offset(anchors, 5_000_003) == 5_500_003
    assert anchors.looked_at <= 22


@given(st.binary(max_size=300))
def test_replacing_decodes_like_python(raw: bytes) -> None:
    made = prepared(raw, starts_document=False, unit="char", decoding="replace")
    assert made.text.decode() == raw.decode("utf-8", "replace")


@given(
    st.lists(st.sampled_from([b"a", b"\xe3\x81\x82", b"\xe3\x81", b"\xf0\x9d\x84\x9e", b"\xff"]))
)
def test_replacing_in_windows_decodes_like_python(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "_DECODE_WINDOW", 4)
        made = prepared(raw, starts_document=False, unit="char", decoding="replace")
    assert made.text.decode() == raw.decode("utf-8", "replace")


E_ACUTE = "e\u0301"  # three bytes; two when composed
SYLLABLE = "\u1112\u1161"  # six bytes; three when composed


@pytest.mark.parametrize(
    ("raw", "changes", "text", "anchors"),
    [
        (b"ab", {}, b"ab", []),
        (b"", {}, b"", []),
        (BOM + b"ab", {}, b"ab", [(0, 3)]),
        (BOM, {"unit": "char"}, b"", [(0, 3)]),
        (b"a" + BOM, {}, b"a" + BOM, []),
        (b"a\r\nb\rc", {}, b"a\r\nb\rc", []),
        # The anchor is behind the LF, which itself leads to its CR.
        (b"a\r\nb\rc", {"newlines": "lf"}, b"a\nb\nc", [(0, 0), (2, 3)]),
        (b"\r\n\r\r\nd", {"newlines": "lf"}, b"\n\n\nd", [(0, 0), (1, 2), (3, 5)]),
        (b"\rab\r", {"newlines": "lf"}, b"\nab\n", []),
        (b"\r\n", {"newlines": "lf"}, b"\n", [(0, 0), (1, 2)]),
        (BOM + b"\r\na", {"newlines": "lf"}, b"\na", [(0, 3), (1, 5)]),
        (f"{E_ACUTE}x".encode(), {"nfc": True}, "éx".encode(), [(0, 0), (2, 3)]),
        (f"x{E_ACUTE}y".encode(), {"nfc": True}, "xéy".encode(), [(0, 0), (3, 4)]),
        (
            f"é{E_ACUTE}a{E_ACUTE}b".encode(),
            {"nfc": True},
            "ééaéb".encode(),
            [(0, 0), (4, 5), (7, 9)],
        ),
        ("éa".encode(), {"nfc": True}, "éa".encode(), []),
        (f"{E_ACUTE}x".encode(), {"unit": "char"}, f"{E_ACUTE}x".encode(), []),
        # Marks in another order have the same length: every offset is its own.
        ("q\u0301\u0323".encode(), {"nfc": True}, "q\u0323\u0301".encode(), []),
        (b"a\xffb", {"unit": "char", "decoding": "replace"}, "a\ufffdb".encode(), [(0, 0), (4, 2)]),
        (b"a\xffb", {}, b"a\xffb", []),
        # One anchor is where the next edit begins; the other step leaves it alone.
        (
            b"\xff\r\nx",
            {"unit": "char", "decoding": "replace", "newlines": "lf"},
            "\ufffd\nx".encode(),
            [(0, 0), (3, 1), (4, 3)],
        ),
        # A syllable has its own place.
        (
            b"\xff" + f"{SYLLABLE}b".encode(),
            {"unit": "char", "decoding": "replace", "nfc": True},
            "\ufffd\ud558b".encode(),
            [(0, 0), (3, 1), (6, 7)],
        ),
        # It leaves alone the one behind it, and what another step says of its end is said once.
        (
            b"\xff\xff" + f"{E_ACUTE}a".encode() + b"\xffc",
            {"unit": "char", "decoding": "replace", "nfc": True},
            "\ufffd\ufffdéa\ufffdc".encode(),
            [(0, 0), (3, 1), (6, 2), (8, 5), (12, 7)],
        ),
        (
            SYLLABLE.encode() + b"\xffb",
            {"unit": "char", "decoding": "replace", "nfc": True},
            "\ud558\ufffdb".encode(),
            [(0, 0), (3, 6), (6, 7)],
        ),
        # Two changes that make up for each other: behind them offsets are their own again.
        (
            b"\xff" + "\u2126\u2126b".encode(),
            {"unit": "char", "decoding": "replace", "nfc": True},
            "\ufffd\u03a9\u03a9b".encode(),
            [(0, 0), (3, 1), (5, 4), (7, 7)],
        ),
        # One that keeps its length hides none.
        (
            b"\xffa\xff" + "\u0301\u0323b".encode(),
            {"unit": "char", "decoding": "replace", "nfc": True},
            "\ufffda\ufffd\u0323\u0301b".encode(),
            [(0, 0), (3, 1), (7, 3)],
        ),
        (
            BOM + f"\r\n{E_ACUTE}\r\n{E_ACUTE}z".encode(),
            {"nfc": True, "newlines": "lf"},
            "\né\néz".encode(),
            [(0, 3), (1, 5), (3, 8), (4, 10), (6, 13)],
        ),
    ],
)
def test_changes_are_recorded(
    raw: bytes, changes: dict[str, object], text: bytes, anchors: list[tuple[int, int]]
) -> None:
    made = prepared(raw, **changes)
    assert made.text == text
    assert list(map(tuple, unpacked(made.anchors).tolist())) == anchors


def test_a_byte_order_mark_is_left_out_at_the_beginning_only() -> None:
    assert prepared(BOM + b"ab", starts_document=False) == Prepared(BOM + b"ab")
    assert prepared(BOM + BOM, unit="char").text == BOM


@pytest.mark.parametrize("decoding", ["strict", "skip"])
@pytest.mark.parametrize("shape", [{"unit": "char"}, {"nfc": True}])
def test_undecodable_text_names_the_source_byte(decoding: str, shape: dict[str, object]) -> None:
    with pytest.raises(UndecodableError, match=r"^invalid start byte$") as caught:
        prepared(BOM + b"abc\xff", decoding=decoding, **shape)
    assert caught.value.offset == 6
    assert caught.value.reason == "invalid start byte"
    with pytest.raises(UndecodableError) as caught:
        prepared(b"ab\xc3", decoding=decoding, **shape)
    assert caught.value.offset == 2


def test_bytes_are_taken_as_they_are() -> None:
    raw = bytes(range(256))
    assert prepared(raw) == Prepared(raw)


@pytest.mark.parametrize(
    ("offset", "source"),
    [(0, 0), (1, 1), (2, 7), (4, 9), (5, 9), (6, 10), (100, 104)],
)
def test_offsets_advance_together_from_each_anchor(offset: int, source: int) -> None:
    # In front of the first anchor every offset is its own.
    assert source_offset([(2, 7), (5, 9)], offset) == source
    assert source_offset([], offset) == offset


def test_an_anchor_that_says_nothing_new_is_dropped_and_those_behind_it_are_kept() -> None:
    anchors = [(0, 0), (5, 5), (9, 12), (10, 13), (11, 15)]
    kept = text_module._deduplicated(np.array(anchors))
    assert kept.tolist() == [[0, 0], [9, 12], [11, 15]]
