"""What a model is held against on the same text: xz, and the best code that knows only how often
each symbol occurs.

Shapes: N tokens of a text, V symbols of the vocabulary.
"""

from __future__ import annotations

import lzma

import numpy as np

from pipeline.corpora.manifest import Corpus

_XZ_PRESET = 9 | lzma.PRESET_EXTREME  # xz -9e
_COUNTED_AT_ONCE = 1 << 24  # tokens: the train split need not fit into memory


def baselines(corpus: Corpus, split: str) -> dict[str, float]:
    """Bits per byte of a split for xz and for a unigram model of the train split."""
    tokens = corpus.open_split(split)
    split_tokens = tokens.read(0, len(tokens))
    text = corpus.vocab.decode(split_tokens)
    unigram = unigram_bits_per_byte(split_tokens, train_counts(corpus), corpus.bytes_in(split))
    return {"xz": xz_bits_per_byte(text), "unigram": unigram}


def xz_bits_per_byte(text: bytes) -> float:
    """Bits per byte of `xz -9e` on the text by itself."""
    compressed = lzma.compress(text, preset=_XZ_PRESET)
    return 8 * len(compressed) / max(1, len(text))


def unigram_bits_per_byte(tokens: np.ndarray, train_counts: np.ndarray, text_bytes: int) -> float:
    """Bits per byte of an order-0 model: symbol frequencies of the train split, plus one (Laplace).

    tokens: the text, (N,); train_counts: occurrences by token, (V,).
    """
    # Without the one, a symbol that the train split lacks would cost infinitely many bits.
    smoothed = train_counts.astype(np.float64) + 1
    bits_by_token = -np.log2(smoothed / smoothed.sum())
    return float(bits_by_token[tokens].sum()) / max(1, text_bytes)


def train_counts(corpus: Corpus) -> np.ndarray:
    """How often each token occurs in the train split, (V,)."""
    tokens = corpus.open_split("train")
    counts = np.zeros(len(corpus.vocab), np.int64)
    for start in range(0, len(tokens), _COUNTED_AT_ONCE):
        stop = min(len(tokens), start + _COUNTED_AT_ONCE)
        counts += np.bincount(tokens.read(start, stop), minlength=len(counts))
    return counts
