"""What kind of place a symbol stands at, by hand and by Python's own means."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.corpora.vocab import symbols_of
from pipeline.evaluation import places
from pipeline.evaluation.places import (
    follows,
    opener_distances,
    repeats,
    train_word_counts,
    words_of,
)
from tests.corpora.conftest import build


def symbols(text: str) -> np.ndarray:
    return symbols_of(text.encode(), "char")


def test_words_are_runs_of_letters_digits_and_underscores() -> None:
    text = "x_1 = caf\u00e9(2); a x_1"
    words = words_of(symbols(text), "char")
    spelled = [text[a:b] for a, b in zip(words.starts, words.stops, strict=True)]
    assert spelled == re.findall(r"\w+", text)
    hashes = words.hashes.tolist()
    assert hashes[0] == hashes[4]
    assert len(set(hashes)) == 4
    mask = words.mask(np.array([False, True, False, False, False]), len(text))
    assert "".join(c for c, inside in zip(text, mask, strict=True) if inside) == "caf\u00e9"


def test_bytes_of_a_character_are_letters() -> None:
    raw = symbols_of("a\u20ac b".encode(), "byte")
    words = words_of(raw, "byte")
    assert [words.starts.tolist(), words.stops.tolist()] == [[0, 5], [4, 6]]
    assert words_of(symbols("a\u20ac b"), "char").stops.tolist() == [1, 4]
    assert len(words_of(symbols(" ;"), "char").starts) == 0


@pytest.mark.parametrize("task_tokens", [1 << 26, 977, 10])
def test_words_of_the_training_split_are_counted(tmp_path: Path, task_tokens: int) -> None:
    text = (
        "one two one, three_3 two one.\n" * (3 if task_tokens == 10 else 70)
        + "caf\u00e9 \u20ac\u20ac\u00e9"
    )
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    corpus: Corpus = build(tmp_path, tmp_path / "t.txt", unit="char", min_count=2, val=0, test=0)
    asked = "three_3 one thre \u00e9 zwei one"
    counts = train_word_counts(corpus, words_of(symbols(asked), "char"), task_tokens=task_tokens)
    found = re.findall(r"\w+", text)
    wanted = [found.count(word) for word in asked.split()]
    assert counts.tolist() == wanted
    none = words_of(symbols("-"), "char")
    assert train_word_counts(corpus, none).tolist() == []


@pytest.mark.parametrize("within", [9, 30, 1000])
def test_repeats_are_those_of_looking_back(within: int) -> None:
    text = "".join("ab"[n] for n in np.random.default_rng(3).integers(0, 2, 600))
    wanted = []
    for end in range(1, len(text) + 1):
        stretch = text[max(0, end - 8) : end]
        before = text[max(0, end - within - 8) : end - 1]
        wanted.append(len(stretch) == 8 and stretch in before)
    assert repeats(symbols(text), within).tolist() == wanted
    assert any(wanted)
    assert not all(wanted[8:])
    assert not repeats(symbols("short"), 100).any()


def test_what_stands_behind_a_character() -> None:
    assert follows(symbols(" ab c "), " ").tolist() == [False, True, False, False, True, False]


def test_closers_know_their_openers() -> None:
    text = '(a[b](c)) ) { "x" (" y'
    wanted = {4: 2, 7: 2, 8: 8, 16: 2}
    found = opener_distances(symbols(text))
    assert {place: found[place] for place in np.flatnonzero(found).tolist()} == wanted


def test_a_blank_line_ends_a_quotation() -> None:
    assert opener_distances(symbols('5" wide\n\n"yes"'))[-1] == 4
    assert opener_distances(symbols('5" wide\n"yes"'))[8] == 7


def test_hashes_are_of_whole_words() -> None:
    """Words that begin alike differ, beyond the longest length that is looked at too."""
    long = "a" * (places._LONGEST_WORD + 5)
    words = words_of(symbols(f"aa aaa {long}"), "char")
    assert len(set(words.hashes.tolist())) == 3


def test_a_carriage_return_alone_is_a_newline() -> None:
    symbols = np.frombuffer(b"a\rb\r\nc\n\r", np.uint8)
    assert places.with_newlines(symbols).tobytes() == b"a\nb\r\nc\n\n"
    assert len(places.with_newlines(symbols[:0])) == 0
