"""N-gram models of bytes, interpolated by Witten and Bell's rule, exact and without an index.

    P_n(s | context) = (c(context s) + t(context) P_{n-1}(s)) / (c(context) + t(context))

c counts occurrences in the training text that are followed by a byte, t the distinct bytes that
follow there (Witten and Bell 1991, method C, interpolated as in Chen and Goodman 1998). P_0 is
1/256. A context that the training text lacks leaves P_{n-1} as it is. Nothing is learnt from the
text itself.

An n-gram has a number: the pair of its (n-1)-gram's number and its last byte, looked up among those
that the training text has. One level is made from the one before, so memory holds two of them,
whatever n is. Shapes: N bytes of text, D bytes of training text.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.intervals import Blocks, Interval

_UNSEEN = -1


@dataclass(frozen=True)
class NgramScore:
    """An n-gram model's bits per byte; n = 1 is the unigram model."""

    n: int
    bits_per_byte: float
    interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class NgramTask:
    """N-gram models from 1 to `max_order` on a text, summed by blocks of `block_bytes`."""

    train: bytes
    text: bytes
    max_order: int
    block_bytes: int
    keeps_longest: bool = False

    def run(self) -> dict[str, Any]:
        """Nats by n and block, and by byte those of the longest n if they are to be kept."""
        blocks = Blocks.of(len(self.text), self.block_bytes)
        starts = np.arange(len(self.text))
        sums = []
        nats = np.empty(0)
        for nats in ngram_nats(self.train, self.text, self.max_order):
            sums.append(blocks.sums(nats, starts).tolist())
        # As in scores.py: results are JSON, and base64 keeps every bit of a float.
        longest = base64.b64encode(nats.tobytes()).decode() if self.keeps_longest else ""
        return {"sums": sums, "longest": longest}


def ngram_nats(train: bytes, text: bytes, max_order: int) -> Iterator[np.ndarray]:
    """The nats (N,) of a text's bytes for n = 1, 2, ... max_order."""
    data = np.frombuffer(train, np.uint8).astype(np.int64)
    read = np.frombuffer(text, np.uint8).astype(np.int64)
    probabilities = np.full(len(read), 1 / 256)
    # Numbers of the (n-1)-grams that begin at each byte. There is one of no byte, everywhere.
    contexts = np.zeros(len(data) + 1, np.int64)
    read_contexts = np.zeros(len(read) + 1, np.int64)
    for n in range(1, max_order + 1):
        grams = (contexts[:-1] << 8) | data[n - 1 :]
        known, contexts, counts = np.unique(grams, return_inverse=True, return_counts=True)
        followed = np.bincount(known >> 8, counts)
        distinct = np.bincount(known >> 8)
        at = read_contexts[:-1]
        found = _numbers(known, at, read[n - 1 :])
        probabilities[n - 1 :] = _interpolated(
            probabilities[n - 1 :], at, found, counts, followed, distinct
        )
        read_contexts = found
        yield -np.log(probabilities)


def _numbers(known: np.ndarray, contexts: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Numbers of n-grams by their contexts and last bytes among the known ones, else _UNSEEN."""
    numbers = np.full(len(contexts), _UNSEEN)
    (seen,) = np.nonzero(contexts >= 0)
    grams = (contexts[seen] << 8) | last[seen]
    places = np.searchsorted(known, grams)
    is_known = places < len(known)
    is_known[is_known] = known[places[is_known]] == grams[is_known]
    numbers[seen[is_known]] = places[is_known]
    return numbers


def _interpolated(
    lower: np.ndarray,
    contexts: np.ndarray,
    grams: np.ndarray,
    counts: np.ndarray,
    followed: np.ndarray,
    distinct: np.ndarray,
) -> np.ndarray:
    """Probabilities of order n from those of order n - 1; `counts` are by n-gram, `followed` and
    `distinct` by context.
    """
    higher = lower.copy()
    # The last bytes of the training text are a context that nothing follows: beyond the tables.
    (usable,) = np.nonzero((contexts >= 0) & (contexts < len(followed)))
    c = followed[contexts[usable]]
    t = distinct[contexts[usable]]
    gram = grams[usable]
    occurs = np.where(gram >= 0, counts[np.maximum(gram, 0)], 0) if len(counts) else 0
    weights = c + t
    is_followed = weights > 0
    mixed = (occurs + t * lower[usable]) / np.where(is_followed, weights, 1)
    higher[usable] = np.where(is_followed, mixed, lower[usable])
    return higher
