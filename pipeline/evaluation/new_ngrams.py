"""Which n-grams of samples a corpus has, for n below 32; compiled.

An n-gram is its 64-bit hash: for a million n-grams and a billion symbols, the chance that one of
them is taken for another is below 1 in 10,000. Longer ones are exact: substrings.py finds them.
Shapes: N symbols of all samples, U distinct n-grams.
"""

from __future__ import annotations

import numpy as np

from pipeline.compiled_code import njit

_BASE = np.uint64(0xD1342543DE82EF95)  # odd, as in substrings.py
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_BITS_AN_NGRAM = 16
# Symbols between two looks at what is still missing: soon most n-grams of a kind of text were seen,
# and the table of the others says no to almost everything.
_BLOCK = 1 << 20


class NgramSet:
    """The distinct n-grams of samples, and which of them were seen in a corpus."""

    def __init__(self, text: np.ndarray, n: int, separator: int) -> None:
        self.n = n
        text = np.array(text, np.uint32)
        hashes = _hashes(text, n)
        apart = np.cumsum(np.concatenate([[0], text == separator]))
        whole = apart[n:] == apart[: len(hashes)] if len(hashes) else np.zeros(0, np.bool_)
        self.starts = np.flatnonzero(whole)  # of the n-grams that lie within a sample
        # (U,) ascending, and for each start the index of its n-gram among them.
        self._distinct, self._index = np.unique(hashes[whole], return_inverse=True)
        self.seen = np.zeros(len(self._distinct), np.bool_)

    def look_through(self, corpus: np.ndarray, limit: int) -> None:
        """Note the n-grams that `corpus` has at starts before `limit`."""
        corpus = np.ascontiguousarray(corpus)
        last = min(limit, len(corpus) - self.n + 1)
        start = 0
        while start < last and not self.seen.all():
            missing = np.flatnonzero(~self.seen)
            table, bits = _tables(self._distinct, missing)
            before = len(missing)
            found = 0
            # A new table pays when a tenth of the n-grams has gone.
            while start < last and 10 * found <= before:
                stop = min(last, start + _BLOCK)
                found += _look(corpus, start, stop, self.n, self._distinct, table, bits, self.seen)
                start = stop

    def new(self) -> np.ndarray:
        """For each of `starts`, whether its n-gram was not seen."""
        return ~self.seen[self._index]


def packed(seen: np.ndarray) -> bytes:
    """Flags as bits, the way they travel between processes."""
    return np.packbits(seen).tobytes()


def unpacked(bits: bytes, count: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(np.bool_)


def _tables(distinct: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A hash table of the missing n-grams' indices, and a bit for each that may be in it."""
    table = np.full(1 << max(6, int(2 * len(missing)).bit_length()), -1, np.int32)
    size = 1 << max(9, int(_BITS_AN_NGRAM * len(missing)).bit_length())
    bits = np.zeros(size // 64, np.uint64)
    _fill(distinct, missing, table, bits)
    return table, bits


@njit(nogil=True, error_model="numpy")
def _hashes(text: np.ndarray, n: int) -> np.ndarray:
    """The hash of every n-gram of a text, (N - n + 1,)."""
    hashes = np.empty(max(0, len(text) - n + 1), np.uint64)
    for start in range(len(hashes)):
        value = np.uint64(0)
        for i in range(start, start + n):
            value = value * _BASE + np.uint64(text[i]) + np.uint64(1)
        hashes[start] = value
    return hashes


@njit(nogil=True, error_model="numpy")
def _fill(distinct: np.ndarray, missing: np.ndarray, table: np.ndarray, bits: np.ndarray) -> None:
    mask = np.uint64(len(bits) * 64 - 1)
    for index in missing:
        spread = distinct[index] * _SPREAD
        slot = np.int64(spread >> np.uint64(20)) & (len(table) - 1)
        while table[slot] >= 0:
            slot = (slot + 1) & (len(table) - 1)
        table[slot] = index
        bit = (spread >> np.uint64(32)) & mask
        bits[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@njit(nogil=True, error_model="numpy")
def _look(
    corpus: np.ndarray,
    start: int,
    stop: int,
    n: int,
    distinct: np.ndarray,
    table: np.ndarray,
    bits: np.ndarray,
    seen: np.ndarray,
) -> int:
    """Mark n-grams that begin in [start, stop); returns how many were not marked before."""
    mask = np.uint64(len(bits) * 64 - 1)
    oldest = np.uint64(1)
    value = np.uint64(0)
    for i in range(start, start + n):
        value = value * _BASE + np.uint64(corpus[i]) + np.uint64(1)
        oldest *= _BASE
    found = 0
    at = start
    while True:
        spread = value * _SPREAD
        bit = (spread >> np.uint64(32)) & mask
        if (bits[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
            slot = np.int64(spread >> np.uint64(20)) & (len(table) - 1)
            while table[slot] >= 0 and distinct[table[slot]] != value:
                slot = (slot + 1) & (len(table) - 1)
            if table[slot] >= 0 and not seen[table[slot]]:
                seen[table[slot]] = True
                found += 1
        if at + 1 == stop:
            return found
        entering = np.uint64(corpus[at + n]) + np.uint64(1)
        leaving = np.uint64(corpus[at]) + np.uint64(1)
        value = value * _BASE + entering - leaving * oldest
        at += 1
