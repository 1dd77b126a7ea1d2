"""Symbols to tokens and back: nothing is lost, and what is outside is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora.vocab import (
    Vocab,
    build_vocab,
    count_symbols,
    describe,
    symbol_bytes,
    symbols_of,
)
from pipeline.errors import InputError

WIDE = [*range(0xD800), *range(0xE000, 70_000)]  # more characters than 16 bits hold


@given(st.binary(min_size=1))
def test_bytes_survive_encoding(text: bytes) -> None:
    vocab = build_vocab(count_symbols(symbols_of(text, "byte")), "byte", 1)
    assert vocab.decode(vocab.encode(text)) == text
    assert list(vocab.symbols) == sorted(set(text))


@given(st.text(min_size=1, alphabet=st.characters(codec="utf-8")))
def test_characters_survive_encoding(text: str) -> None:
    vocab = build_vocab(count_symbols(symbols_of(text.encode(), "char")), "char", 1)
    assert vocab.decode(vocab.encode(text)) == text.encode()
    assert list(vocab.symbols) == sorted(set(map(ord, text)))
    assert Vocab.from_json(vocab.to_json()) == vocab


def test_symbols_are_bytes_or_code_points() -> None:
    as_bytes = symbols_of("é".encode(), "byte")
    assert (as_bytes.tolist(), as_bytes.dtype) == ([0xC3, 0xA9], np.uint8)
    as_characters = symbols_of("aé𝄞".encode(), "char")
    assert (as_characters.tolist(), as_characters.dtype) == ([0x61, 0xE9, 0x1D11E], np.uint32)
    assert symbol_bytes(0xE9, "byte") == b"\xe9"
    assert symbol_bytes(0xE9, "char") == b"\xc3\xa9"


def test_only_symbols_that_occur_are_counted() -> None:
    assert count_symbols(symbols_of(b"abba\xff", "byte")) == {97: 2, 98: 2, 255: 1}
    assert count_symbols(symbols_of("é𝄞é".encode(), "char")) == {0xE9: 2, 0x1D11E: 1}
    assert count_symbols(symbols_of(b"\0", "byte")) == {0: 1}
    assert count_symbols(symbols_of(b"", "byte")) == {}
    assert count_symbols(symbols_of(b"", "char")) == {}


def test_rare_symbols_become_one_unknown_token() -> None:
    vocab = build_vocab({97: 3, 98: 1, 99: 1}, "byte", 2)
    assert vocab.symbols == (None, 97)
    assert vocab.has_unknown
    np.testing.assert_array_equal(vocab.encode(b"abca"), [1, 0, 0, 1])
    assert vocab.decode([1, 0]) == b"a\xef\xbf\xbd"
    assert vocab.texts(np.array([0, 1], np.uint8)) == ["\ufffd".encode(), b"a"]


def test_without_rare_symbols_there_is_no_unknown_token() -> None:
    vocab = build_vocab({98: 2, 97: 2}, "char", 2)
    assert vocab.symbols == (97, 98)
    assert not vocab.has_unknown
    with pytest.raises(InputError, match="no symbol occurs 3 times in this corpus; lower --min_c"):
        build_vocab({97: 2}, "byte", 3)
    with pytest.raises(InputError, match="no symbol occurs 1 times"):
        build_vocab({}, "byte", 1)


def test_a_symbol_outside_is_named() -> None:
    vocab = Vocab("char", [97])
    message = (
        r"^symbols outside the vocabulary: 'é' \(U\+00E9\), '€' \(U\+20AC\)\. Leave them out, "
        r"or use a vocabulary with an unknown token \(min_count above 1\)\.$"
    )
    with pytest.raises(InputError, match=message):
        vocab.encode("a€é€a")
    assert vocab.missing(symbols_of("a€é€a".encode(), "char")) == [0xE9, 0x20AC]
    assert vocab.missing(symbols_of(b"a", "char")) == []
    assert Vocab("char", [None, 97]).missing(symbols_of("é".encode(), "char")) == [0xE9]
    assert vocab.encode("").tolist() == []


def test_symbols_are_described_for_people() -> None:
    assert describe([0xE9], "byte") == "byte 0xE9"
    assert describe([10, 0xE9], "char") == "'\\n' (U+000A), 'é' (U+00E9)"
    assert describe([1, 2, 3], "byte", 2) == "byte 0x01, byte 0x02 and 1 more"
    assert describe([1, 2], "byte", 2) == "byte 0x01, byte 0x02"
    assert describe(list(range(8)), "byte").endswith("byte 0x07")
    assert describe(list(range(10)), "byte").endswith("byte 0x07 and 2 more")


@pytest.mark.parametrize(
    ("symbols", "dtype"),
    [
        (WIDE[:1], np.uint8),
        (WIDE[:256], np.uint8),
        (WIDE[:257], np.uint16),
        (WIDE[: 1 << 16], np.uint16),
        (WIDE[: (1 << 16) + 1], np.uint32),
    ],
)
def test_the_token_type_is_the_narrowest(symbols: list[int], dtype: type) -> None:
    vocab = Vocab("char", symbols)
    assert vocab.dtype == dtype
    assert len(vocab) == len(symbols)
    last = chr(symbols[-1])
    assert vocab.encode(last).dtype == dtype
    assert vocab.encode(last).tolist() == [len(symbols) - 1]


def test_tokens_follow_the_unknown_token() -> None:
    assert Vocab("byte", [97, 99]).encode(b"ac").tolist() == [0, 1]
    assert Vocab("byte", [None, 97, 99]).encode(b"ac").tolist() == [1, 2]
    every = Vocab("byte", range(256))
    assert every.encode(bytes(range(256))).tolist() == list(range(256))


def test_vocabularies_are_equal_by_unit_and_symbols() -> None:
    one = Vocab("byte", [97, 98])
    assert one == Vocab("byte", [97, 98])
    assert hash(one) == hash(Vocab("byte", [97, 98]))
    assert one != Vocab("char", [97, 98])
    assert one != Vocab("byte", [97])
    assert one != "ab"
    assert repr(one) == "Vocab(byte, 2 symbols)"


def test_the_format_and_the_fingerprint_are_what_they_were() -> None:
    vocab = Vocab("char", [None, 97])
    assert vocab.to_json() == {"format": 1, "unit": "char", "symbols": [None, 97]}
    # SHA-256 of {"format": 1, "symbols": [null, 97], "unit": "char"}
    expected = "08e919f3507e4f4a0686dc67b593abca7c1ffac41ed5e8e6ebf863808d816611"
    assert vocab.fingerprint == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "not a format 1 vocabulary; use the program's version that wrote it"),
        ({}, "not a format 1 vocabulary"),
        ([1], "not a format 1 vocabulary"),
        ({"format": 2, "unit": "byte", "symbols": [1]}, "not a format 1 vocabulary"),
        (
            {"format": 1, "unit": "word", "symbols": [1]},
            r"^the vocabulary has no unit or symbols; fetch it again\.$",
        ),
        ({"format": 1, "symbols": [1]}, "has no unit or symbols"),
        ({"format": 1, "unit": "byte"}, "has no unit or symbols"),
        ({"format": 1, "unit": "byte", "symbols": "a"}, "has no unit or symbols"),
        (
            {"format": 1, "unit": "byte", "symbols": ["a"]},
            r"^the vocabulary's symbols are not numbers; fetch it again\.$",
        ),
        ({"format": 1, "unit": "byte", "symbols": [True]}, "symbols are not numbers"),
        ({"format": 1, "unit": "byte", "symbols": [1.0]}, "symbols are not numbers"),
    ],
)
def test_what_is_no_vocabulary_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Vocab.from_json(value)


@pytest.mark.parametrize(
    ("unit", "symbols"),
    [
        ("byte", []),
        ("byte", [None]),
        ("byte", [2, 1]),
        ("byte", [1, 1]),
        ("byte", [1, None]),
        ("byte", [None, None, 1]),
        ("byte", [-1, 1]),
        ("byte", [256]),
        ("char", [0x110000]),
    ],
)
def test_symbols_must_ascend_within_their_range(unit: Any, symbols: list[int | None]) -> None:
    limit = {"byte": 256, "char": 1114112}[unit]
    message = rf"a {unit} vocabulary must be distinct symbols below {limit} in ascending order; "
    with pytest.raises(InputError, match=rf"{message}found Vocab\({unit}, {len(symbols)} symbols"):
        Vocab(unit, symbols)


def test_the_ends_of_the_range_are_symbols() -> None:
    assert Vocab("byte", [0, 255]).decode([0, 1]) == b"\0\xff"
    assert Vocab("char", [0, 0x10FFFF]).decode([1]) == b"\xf4\x8f\xbf\xbf"
    Vocab("char", [0xD7FF, 0xE000])
    for surrogate in (0xD800, 0xDFFF):
        with pytest.raises(
            InputError, match=r"^a char vocabulary has no surrogates: they are not characters\.$"
        ):
            Vocab("char", [97, surrogate])
