"""What a model is held against on the same text: xz, and the best code that knows only symbol frequencies."""

from __future__ import annotations

import lzma

import numpy as np

from pipeline.corpora.manifest import Corpus


def xz_bits_per_byte(text: bytes) -> float:
    """Bits per byte of `xz -9e` on the text by itself."""
    return 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / max(1, len(text))


def baselines(corpus: Corpus, split: str) -> dict[str, float]:
    """Bits per byte of a split for xz and for a unigram model of the train split."""
    tokens = corpus.open_split(split)
    held = tokens.read(0, len(tokens))
    text_bytes = corpus.bytes_in(split)
    return {
        "xz": xz_bits_per_byte(corpus.vocab.decode(held)),
        "unigram": unigram_bits_per_byte(held, train_counts(corpus), text_bytes),
    }


def unigram_bits_per_byte(tokens: np.ndarray, train_counts: np.ndarray, text_bytes: int) -> float:
    """Bits per byte of an order-0 model: symbol frequencies of the train split, plus one (Laplace).

    tokens: the text, (N,); train_counts: occurrences by token, (V,).
    """
    smoothed = train_counts.astype(np.float64) + 1
    bits = -np.log2(smoothed / smoothed.sum())
    return float(bits[tokens].sum()) / max(1, text_bytes)


def train_counts(corpus: Corpus) -> np.ndarray:
    """How often each token occurs in the train split, (V,)."""
    tokens = corpus.open_split("train")
    counts = np.zeros(len(corpus.vocab), np.int64)
    for start in range(0, len(tokens), 1 << 24):
        counts += np.bincount(
            tokens.read(start, min(len(tokens), start + (1 << 24))), minlength=len(counts)
        )
    return counts
