"""Counts of the text that was looked at; tests/corpora/test_survey.py compares them with builds."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.look import TextLook
from pipeline.errors import InputError

CONFIG = CorpusConfig(name="c", source="x", unit="char", separator="|", min_count=2)


def test_nothing_looked_at_counts_a_token_a_byte() -> None:
    look = TextLook(CONFIG)
    assert (look.tokens_per_byte, look.vocab_size(), look.spent) == (1.0, 0, False)


def test_tokens_and_symbols_are_counted_after_normalisation() -> None:
    look = TextLook(dataclasses.replace(CONFIG, newlines="lf"))
    look.look("a", iter([(0, b"\xef\xbb\xbfa\r\n"), (6, "aé\n".encode())]), 100)
    # The byte-order mark and the carriage return are left out; é is one character of two bytes.
    assert (look.documents, look.source_bytes, look.tokens) == (1, 10, 5)
    assert look.counts == {ord("a"): 2, ord("\n"): 2, ord("é"): 1}
    assert look.tokens_per_byte == 0.5
    # One unknown token for é and for the separator, which one document has once.
    assert look.vocab_size() == 3
    assert look.whole
    # Of a tenth of the text a symbol is kept that occurs a tenth as often.
    look.whole = False
    assert look.vocab_size(0.1) == 4


@pytest.mark.parametrize(("limit", "budget"), [(3, 100), (100, 3)])
def test_a_look_ends_at_the_limit_and_at_the_budget(limit: int, budget: int) -> None:
    look = TextLook(CONFIG, budget=budget)
    look.look("a", iter([(0, b"ab"), (2, b"cd"), (4, b"ef")]), limit)
    assert (look.source_bytes, look.tokens, look.whole) == (4, 4, False)
    assert look.spent is (budget == 3)


def test_undecodable_text_is_refused_by_place_or_left_out() -> None:
    with pytest.raises(InputError, match="doc: invalid UTF-8 at byte 5"):
        TextLook(CONFIG).look("doc", iter([(0, b"abc"), (3, b"de\xff")]), 100)
    look = TextLook(dataclasses.replace(CONFIG, decoding="skip"))
    look.look("doc", iter([(0, b"abc"), (3, b"de\xff")]), 100)
    assert (look.undecodable, look.documents, look.tokens, look.source_bytes) == (1, 0, 0, 6)
