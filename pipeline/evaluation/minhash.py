"""Windows of a text that nearly stand in another one: MinHash to find candidates, each compared
exactly; compiled.

A window is the 256 shingles of 8 symbols that begin in it. Its signature has 48 bins: each shingle
falls into one of them by its hash, and the smallest of a bin stays (one permutation hashing, Li et
al. 2012). Two windows are candidates when two neighbouring bins agree. The text that streams past
is looked at every 64 symbols, so a copy anywhere in it shares at least 7/9 of a window's shingles
with one of its own windows. datasketch takes 230 us a window, this one 2 us with all
comparing, and 1.3 GB have 20 million.

Shapes: W windows of the text that is indexed, E = 24 W entries of its bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.compiled_code import njit

SHINGLE = 8  # symbols: below, any two texts of a kind share many
STRIDE = 64  # symbols from one window of the streaming text to the next
WINDOW = 4 * STRIDE
REACH = WINDOW + SHINGLE - 1  # symbols that a window's shingles cover
BINS = 48
BANDS = BINS // 2
FEWEST_SHINGLES = 64  # distinct ones: rows of dashes and blanks are no duplicates of each other
_LEAST_AGREED = 10  # of 48 bins: a true pair of containment 0.8 has 26 on average
# Comparisons of a window that came to nothing, in one task. Boilerplate beside a text of its own
# makes a candidate of every file that has it: without an end, licences take all the time.
_MOST_TRIES = 2000
_SLOTS = 1024  # of the hash table of a window's shingles
_EMPTY = np.uint32(0xFFFFFFFF)
_BASE = np.uint64(0xD1342543DE82EF95)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class Windows(NamedTuple):
    """The indexed windows: where each begins in `text`, its signature, and its entries by band."""

    text: np.ndarray
    starts: np.ndarray  # (W,)
    signatures: np.ndarray  # (W, 48) uint32
    heads: np.ndarray  # by slot, the first entry or -1
    next: np.ndarray  # (E,)
    bits: np.ndarray  # a bit for every slot that has entries: small enough for the cache


@dataclass(frozen=True)
class Matches:
    """For each window, the share of its distinct shingles in the best place, and that place.

    The place is -1 where no candidate came near.
    """

    containment: np.ndarray
    places: np.ndarray


class WindowIndex:
    """Windows of a text, ready for others to stream past."""

    def __init__(self, text: np.ndarray, starts: np.ndarray) -> None:
        entries = BANDS * len(starts)
        slots = 1 << max(9, int(4 * entries).bit_length())
        self.starts = starts.astype(np.int64)
        self._windows = Windows(
            np.array(text, np.uint32),
            self.starts,
            np.full((len(starts), BINS), _EMPTY, np.uint32),
            np.full(slots, -1, np.int32),
            np.full(entries, -1, np.int32),
            np.zeros(slots // 64, np.uint64),
        )
        _index(self._windows)

    def match(self, corpus: np.ndarray, limit: int, threshold: float, base: int = 0) -> Matches:
        """The windows' best places among those of `corpus` that begin before `limit`.

        Places count from `base`. A window whose containment reached `threshold` is not looked for
        any more.
        """
        count = len(self.starts)
        nowhere = np.full(count, -1, np.int64)
        progress = Progress(np.zeros(count), nowhere, np.zeros(count, np.int32), nowhere.copy())
        # A found window leaves its lists, so they are this search's own.
        heads = self._windows.heads.copy()
        own = self._windows._replace(heads=heads, next=self._windows.next.copy())
        _stream(np.ascontiguousarray(corpus), limit, own, threshold, progress)
        places = np.where(progress.places >= 0, progress.places + base, -1)
        return Matches(progress.containment, places)


def containment_of(window: np.ndarray, region: np.ndarray) -> float:
    """The share of a window's distinct shingles that a region has; 0 for one of too few."""
    table = np.empty(_SLOTS, np.uint64)
    used = np.empty(_SLOTS, np.int8)
    return float(
        _containment(
            np.array(window, np.uint32), 0, np.array(region, np.uint32), 0, len(region), table, used
        )
    )


@njit(nogil=True, error_model="numpy")
def _shingle(text: np.ndarray, start: int) -> np.uint64:
    """The shingle at `start` as a number: its 8 symbols themselves for symbols below 256."""
    value = np.uint64(0)
    packed = np.uint64(0)
    largest = np.uint64(0)
    for i in range(start, start + SHINGLE):
        symbol = np.uint64(text[i])
        packed = (packed << np.uint64(8)) | symbol
        value = value * _BASE + symbol + np.uint64(1)
        largest = max(largest, symbol)
    return packed if largest < np.uint64(256) else value


@njit(nogil=True, error_model="numpy")
def _mixed(value: np.uint64) -> np.uint64:
    """A shingle's hash: all bits depend on all symbols."""
    value = (value ^ (value >> np.uint64(32))) * _SPREAD
    value = (value ^ (value >> np.uint64(29))) * _BASE
    return value ^ (value >> np.uint64(32))


@njit(nogil=True, error_model="numpy")
def _add_shingles(text: np.ndarray, start: int, stop: int, bins: np.ndarray) -> None:
    """Lower the bins by the shingles that begin in [start, stop)."""
    for i in range(start, min(stop, len(text) - SHINGLE + 1)):
        hashed = _mixed(_shingle(text, i))
        place = ((hashed >> np.uint64(32)) * np.uint64(BINS)) >> np.uint64(32)
        value = np.uint32(hashed & np.uint64(0xFFFFFFFF))
        bins[place] = min(bins[place], value)


@njit(nogil=True, error_model="numpy")
def _slot(signature: np.ndarray, band: int, slots: int) -> np.int64:
    """Where a band's two bins lead, or -1 when one of them is empty."""
    first = signature[2 * band]
    second = signature[2 * band + 1]
    if _EMPTY in (first, second):
        return np.int64(-1)
    pair = (np.uint64(first) << np.uint64(32)) | np.uint64(second)
    return np.int64(_mixed(pair + np.uint64(band)) & np.uint64(slots - 1))


@njit(nogil=True, error_model="numpy")
def _index(windows: Windows) -> None:
    """Make all signatures, and put each band of a window into its list."""
    for window in range(len(windows.starts)):
        signature = windows.signatures[window]
        start = windows.starts[window]
        _add_shingles(windows.text, start, start + WINDOW, signature)
        for band in range(BANDS):
            slot = _slot(signature, band, len(windows.heads))
            if slot >= 0:
                entry = window * BANDS + band
                windows.next[entry] = windows.heads[slot]
                windows.heads[slot] = entry
                windows.bits[slot >> 6] |= np.uint64(1) << np.uint64(slot & 63)


@njit(nogil=True, error_model="numpy")
def _containment(
    text: np.ndarray,
    start: int,
    corpus: np.ndarray,
    low: int,
    high: int,
    table: np.ndarray,
    used: np.ndarray,
) -> float:
    """The share of the distinct shingles of text's window that `corpus` has in [low, high).

    `table` and `used` are room for a hash table of them.
    """
    mask = len(table) - 1
    used[:] = 0
    distinct = 0
    for i in range(start, min(start + WINDOW, len(text) - SHINGLE + 1)):
        shingle = _shingle(text, i)
        slot = np.int64(_mixed(shingle) & np.uint64(mask))
        while used[slot] and table[slot] != shingle:
            slot = (slot + 1) & mask
        distinct += 0 if used[slot] else 1
        used[slot] = 1
        table[slot] = shingle
    found = 0
    for i in range(low, min(high, len(corpus)) - SHINGLE + 1):
        shingle = _shingle(corpus, i)
        slot = np.int64(_mixed(shingle) & np.uint64(mask))
        while used[slot] and table[slot] != shingle:
            slot = (slot + 1) & mask
        if used[slot] == 1:
            used[slot] = 2
            found += 1
    return found / distinct if distinct >= FEWEST_SHINGLES else 0.0


class Progress(NamedTuple):
    """What one search knows of each window, (W,)."""

    containment: np.ndarray
    places: np.ndarray
    tries: np.ndarray
    last_tried: np.ndarray  # where the last window it was compared with begins


@njit(nogil=True, error_model="numpy")
def _stream(
    corpus: np.ndarray, limit: int, windows: Windows, threshold: float, progress: Progress
) -> None:
    """Compare the windows of `corpus`, one every 64 symbols, with those that share a band."""
    strides = np.full((4, BINS), _EMPTY, np.uint32)  # the signatures of the last four strides
    signature = np.empty(BINS, np.uint32)
    table = np.empty(_SLOTS, np.uint64)
    used = np.empty(_SLOTS, np.int8)
    for stride in range((len(corpus) + STRIDE - 1) // STRIDE):
        own = strides[stride % 4]
        own[:] = _EMPTY
        _add_shingles(corpus, stride * STRIDE, (stride + 1) * STRIDE, own)
        start = (stride - 3) * STRIDE
        if start < 0:
            continue
        if start >= limit:
            return
        for place in range(BINS):
            upper = min(strides[2, place], strides[3, place])
            signature[place] = min(strides[0, place], strides[1, place], upper)
        for band in range(BANDS):
            slot = _slot(signature, band, len(windows.heads))
            if slot < 0:
                continue
            if (windows.bits[slot >> 6] >> np.uint64(slot & 63)) & np.uint64(1):
                _compare(corpus, start, signature, slot, windows, threshold, progress, table, used)


@njit(nogil=True, error_model="numpy")
def _compare(
    corpus: np.ndarray,
    start: int,
    signature: np.ndarray,
    slot: np.int64,
    windows: Windows,
    threshold: float,
    progress: Progress,
    table: np.ndarray,
    used: np.ndarray,
) -> None:
    """Compare a window of `corpus` with those of one list."""
    before = np.int64(-1)
    entry = np.int64(windows.heads[slot])
    while entry >= 0:
        window = entry // BANDS
        following = np.int64(windows.next[entry])
        found = progress.containment[window] >= threshold
        if found or progress.tries[window] >= _MOST_TRIES:
            # Out of the list, which would be walked for every copy of a licence.
            if before < 0:
                windows.heads[slot] = following
            else:
                windows.next[before] = following
            entry = following
            continue
        before = entry
        entry = following
        if progress.last_tried[window] == start:
            continue
        progress.last_tried[window] = start
        agreed = 0
        for place in range(BINS):
            agreed += windows.signatures[window, place] == signature[place]
        if agreed < _LEAST_AGREED:
            continue
        low = max(0, start - STRIDE)
        high = start + REACH + STRIDE
        own = windows.starts[window]
        share = _containment(windows.text, own, corpus, low, high, table, used)
        progress.tries[window] += 1
        if share > progress.containment[window]:
            progress.containment[window] = share
            progress.places[window] = start
