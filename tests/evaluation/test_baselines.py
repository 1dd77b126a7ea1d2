from __future__ import annotations

import lzma
import math

import numpy as np
import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.evaluation.baselines import baselines, unigram_bits_per_byte, xz_bits_per_byte


def test_a_unigram_code_costs_the_cross_entropy() -> None:
    tokens, counts = np.array([0, 0, 1]), np.array([2, 0])
    assert unigram_bits_per_byte(tokens, counts, 3) == pytest.approx(
        (2 * math.log2(4 / 3) + math.log2(4)) / 3
    )


def test_xz_is_what_xz_makes() -> None:
    text = b"abc" * 1000
    assert (
        xz_bits_per_byte(text)
        == 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / 3000
    )


def test_baselines_of_a_corpus_are_plausible(corpus: Corpus) -> None:
    figures = baselines(corpus, "val")
    assert 1 < figures["xz"] < figures["unigram"] < 8
