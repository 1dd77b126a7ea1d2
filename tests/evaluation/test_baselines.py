"""What a model is held against: xz and symbol frequencies, by hand and by the real xz."""

from __future__ import annotations

import lzma
import math

import numpy as np
import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.evaluation import baselines as module
from pipeline.evaluation.baselines import (
    baselines,
    train_counts,
    unigram_bits_per_byte,
    xz_bits_per_byte,
)


def test_a_unigram_code_costs_the_cross_entropy() -> None:
    tokens = np.array([0, 0, 1])
    counts = np.array([2, 0])  # plus one each: 3/4 and 1/4
    bits = 2 * math.log2(4 / 3) + math.log2(4)
    assert unigram_bits_per_byte(tokens, counts, 3) == pytest.approx(bits / 3)
    assert unigram_bits_per_byte(tokens, counts, 6) == pytest.approx(bits / 6)


def test_a_text_without_a_byte_costs_nothing() -> None:
    assert unigram_bits_per_byte(np.array([], np.int64), np.array([2, 0]), 0) == 0.0
    empty = lzma.compress(b"", preset=9 | lzma.PRESET_EXTREME)
    assert xz_bits_per_byte(b"") == 8 * len(empty)  # and does not divide by zero


def test_xz_is_what_xz_makes() -> None:
    text = b"abc" * 1000
    compressed = lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
    assert xz_bits_per_byte(text) == 8 * len(compressed) / 3000


def test_the_preset_is_the_one_that_looks_hardest(corpus: Corpus) -> None:
    text = corpus.vocab.decode(corpus.open_split("val").read(0, corpus.tokens_in("val")))
    assert xz_bits_per_byte(text) < 8 * len(lzma.compress(text, preset=0)) / len(text)


@pytest.mark.parametrize("at_once", [1 << 24, 1000])
def test_every_token_of_the_train_split_is_counted(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "_COUNTED_AT_ONCE", at_once)
    tokens = corpus.open_split("train")
    text = tokens.read(0, len(tokens))
    counts = train_counts(corpus)
    assert (counts.shape, counts.dtype) == ((len(corpus.vocab),), np.int64)
    assert counts.tolist() == np.bincount(text, minlength=len(corpus.vocab)).tolist()


def test_baselines_of_a_corpus_are_those_of_its_split(corpus: Corpus) -> None:
    figures = baselines(corpus, "val")
    tokens = corpus.open_split("val").read(0, corpus.tokens_in("val"))
    text = corpus.vocab.decode(tokens)
    assert set(figures) == {"xz", "unigram"}
    assert figures["xz"] == xz_bits_per_byte(text)
    counts = train_counts(corpus)
    assert figures["unigram"] == unigram_bits_per_byte(tokens, counts, corpus.bytes_in("val"))
    assert 1 < figures["xz"] < figures["unigram"] < 8
