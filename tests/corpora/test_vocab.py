from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora.vocab import Vocab, build_vocab, count_symbols, symbols_of
from pipeline.errors import InputError


@given(st.binary(min_size=1))
def test_bytes_survive_encoding(text: bytes) -> None:
    vocab = build_vocab(count_symbols(symbols_of(text, "byte")), "byte", 1)
    assert vocab.decode(vocab.encode(text)) == text
    assert list(vocab.symbols) == sorted(set(text))


@given(st.text(min_size=1))
def test_characters_survive_encoding(text: str) -> None:
    vocab = build_vocab(
        count_symbols(symbols_of(text.encode("utf-8", "replace"), "char")), "char", 1
    )
    assert vocab.decode(vocab.encode(text.encode("utf-8", "replace"))) == text.encode(
        "utf-8", "replace"
    )
    assert Vocab.from_json(vocab.to_json()) == vocab


def test_rare_symbols_become_one_unknown_token() -> None:
    vocab = build_vocab({97: 3, 98: 1, 99: 1}, "byte", 2)
    assert vocab.symbols == (None, 97)
    np.testing.assert_array_equal(vocab.encode(b"abca"), [1, 0, 0, 1])


def test_a_symbol_outside_is_named() -> None:
    with pytest.raises(InputError, match=r"'é' \(U\+00E9\)"):
        Vocab("char", [97]).encode("aé")


def test_the_token_type_is_the_narrowest() -> None:
    assert Vocab("char", range(256)).dtype == np.uint8
    assert Vocab("char", range(257)).dtype == np.uint16
    assert Vocab("char", [*range(0xD800), *range(0xE000, 70_000)]).dtype == np.uint32


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"format": 9},
        {"format": 1, "unit": "word", "symbols": [1]},
        {"format": 1, "unit": "byte", "symbols": ["a"]},
        {"format": 1, "unit": "byte", "symbols": [2, 1]},
        {"format": 1, "unit": "char", "symbols": [0xD800]},
    ],
)
def test_what_is_no_vocabulary_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        Vocab.from_json(value)
