"""The samples' substrings as an index that a corpus streams past, compiled.

A rolling hash looks every window of 32 symbols of the corpus up among the samples' windows. Where
one is found, compared symbol by symbol, a suffix automaton of the samples (Blumer et al. 1985)
follows the match to its end. So the common case costs a bit of a small table, and the rest is exact
and linear, however often samples and corpus repeat themselves. Memory goes by the samples alone.

Shapes: N symbols of all samples, one behind the other with a symbol of its own behind each, which
no corpus has; M spans. A state stands for the substrings that end at the same places.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.compiled_code import njit
from pipeline.errors import InputError

SHORTEST = 32  # symbols of a span: shorter ones are found by chance in any text of a kind
MOST_SYMBOLS = 1 << 27  # of samples: about 150 bytes of index each, numbered by 32 bits
_BASE = np.uint64(0xD1342543DE82EF95)  # of the rolling hash, odd
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # its upper bits, not its lower ones, depend on all symbols
_BITS_A_WINDOW = (
    16  # one window of the corpus in 16 is looked up in vain; 2 to 4 MB for 1 MB of samples
)


class Automaton(NamedTuple):
    """States by number; state 0 is the empty text. Edges of a state are a list: `first`, `next`."""

    length: np.ndarray  # of the longest substring of a state
    link: np.ndarray  # the state of the longest suffix that occurs elsewhere too
    first: np.ndarray
    next: np.ndarray
    symbol: np.ndarray
    target: np.ndarray
    at: np.ndarray  # (N,): the state of the text up to and with each symbol


class Windows(NamedTuple):
    """A hash table of the samples' windows, and a bit for every hash that may be in it."""

    hashes: np.ndarray
    starts: np.ndarray  # -1 where a slot is empty
    states: np.ndarray
    bits: np.ndarray


class SampleIndex:
    """Finds in a corpus what occurs in samples: `text` are their tokens, (N,) uint32."""

    def __init__(self, text: np.ndarray, separator: int) -> None:
        if len(text) > MOST_SYMBOLS:
            raise InputError(
                f"the samples hold {len(text):,} symbols; their index takes {MOST_SYMBOLS:,} "
                "at most. Give fewer samples at a time."
            )
        self._text = np.array(text, np.uint32)
        self._automaton = _built(self._text)
        slots = 1 << max(6, int(2 * len(text)).bit_length())
        bits = 1 << max(9, int(_BITS_A_WINDOW * len(text)).bit_length())
        self._windows = Windows(
            np.zeros(slots, np.uint64),
            np.full(slots, -1, np.int32),
            np.zeros(slots, np.int32),
            np.zeros(bits // 64, np.uint64),
        )
        _fill_windows(self._text, separator, self._automaton, self._windows)

    def spans(self, corpus: np.ndarray, limit: int, base: int = 0) -> np.ndarray:
        """The maximal spans of the samples that occur in `corpus` and begin there before `limit`.

        int64 (M, 3): start in the samples, length, and a place in the corpus, counted from `base`.
        `corpus` must go on behind `limit` by as much as the longest sample and a window.
        """
        states = len(self._automaton.length)
        best = np.zeros(states, np.int32)
        ends = np.zeros(states, np.int64)
        text = np.ascontiguousarray(corpus)
        _search(text, limit, self._text, self._automaton, self._windows, best, ends)
        order = np.argsort(self._automaton.length, kind="stable")
        _spread(order, self._automaton, best, ends)
        length = best[self._automaton.at].astype(np.int64)  # (N,)
        places = ends[self._automaton.at] - length + base
        # A span is maximal where the next symbol does not make it one longer.
        grows = np.zeros(len(length), np.bool_)
        grows[:-1] = length[1:] == length[:-1] + 1
        chosen = np.flatnonzero((length >= SHORTEST) & ~grows)
        starts = chosen + 1 - length[chosen]
        return np.stack([starts, length[chosen], places[chosen]], axis=1)


def merged(found: list[np.ndarray]) -> np.ndarray:
    """The maximal spans of several searches, (M, 3), in order of start; the first place of each."""
    spans = np.concatenate([np.empty((0, 3), np.int64), *found])
    starts, lengths, places = spans.T
    spans = spans[np.lexsort((places, -lengths, starts))]
    ends = spans[:, 0] + spans[:, 1]
    reached = np.concatenate([[-1], np.maximum.accumulate(ends)[:-1]]) if len(ends) else ends
    return spans[ends > reached]


def _built(text: np.ndarray) -> Automaton:
    """The automaton of a text: at most 2N states and 3N edges."""
    states = 2 * len(text) + 2
    edges = 3 * len(text) + 4
    automaton = Automaton(
        np.zeros(states, np.int32),
        np.full(states, -1, np.int32),
        np.full(states, -1, np.int32),
        np.full(edges, -1, np.int32),
        np.zeros(edges, np.uint32),
        np.zeros(edges, np.int32),
        np.zeros(len(text), np.int32),
    )
    made = _extend_all(text, automaton)
    # Cut to the states there are: what is noted by state has their length.
    return automaton._replace(
        length=automaton.length[:made].copy(),
        link=automaton.link[:made].copy(),
        first=automaton.first[:made].copy(),
    )


@njit(nogil=True, error_model="numpy")
def _edge(automaton: Automaton, state: int, symbol: int) -> int:
    """The edge of a state by a symbol, or -1."""
    edge = automaton.first[state]
    while edge >= 0 and automaton.symbol[edge] != symbol:
        edge = automaton.next[edge]
    return edge


@njit(nogil=True, error_model="numpy")
def _add_edge(automaton: Automaton, edge: int, state: int, symbol: int, target: int) -> int:
    """Put an edge at the head of a state's list; returns the number of the next edge."""
    automaton.symbol[edge] = symbol
    automaton.target[edge] = target
    automaton.next[edge] = automaton.first[state]
    automaton.first[state] = edge
    return edge + 1


@njit(nogil=True, error_model="numpy")
def _extend_all(text: np.ndarray, automaton: Automaton) -> int:
    """Add the symbols of a text one by one; returns the number of states."""
    length = automaton.length
    link = automaton.link
    states = 1
    edges = 0
    last = 0
    for i in range(len(text)):
        symbol = text[i]
        added = states
        states += 1
        length[added] = length[last] + 1
        automaton.at[i] = added
        state = last
        edge = -1
        while state >= 0:
            edge = _edge(automaton, state, symbol)
            if edge >= 0:
                break
            edges = _add_edge(automaton, edges, state, symbol, added)
            state = link[state]
        last = added
        if state < 0:
            link[added] = 0
            continue
        target = automaton.target[edge]
        if length[target] == length[state] + 1:
            link[added] = target
            continue
        # The target stands for longer substrings too, which do not end here: a copy takes those
        # that do.
        copy = states
        states += 1
        length[copy] = length[state] + 1
        link[copy] = link[target]
        old = automaton.first[target]
        while old >= 0:
            edges = _add_edge(automaton, edges, copy, automaton.symbol[old], automaton.target[old])
            old = automaton.next[old]
        link[target] = copy
        link[added] = copy
        while state >= 0:
            edge = _edge(automaton, state, symbol)
            if edge < 0 or automaton.target[edge] != target:
                break
            automaton.target[edge] = copy
            state = link[state]
    return states


@njit(nogil=True, error_model="numpy")
def _hash(text: np.ndarray, start: int) -> np.uint64:
    """The hash of the window that begins at `start`."""
    value = np.uint64(0)
    for i in range(start, start + SHORTEST):
        value = value * _BASE + np.uint64(text[i]) + np.uint64(1)
    return value


@njit(nogil=True, error_model="numpy")
def _slot(
    hashed: np.uint64, text: np.ndarray, start: int, samples: np.ndarray, windows: Windows
) -> np.int64:
    """The slot of a window of `text`: the one that holds its equal, or the empty one for it."""
    slots = len(windows.starts)
    slot = np.int64((hashed * _SPREAD) >> np.uint64(20)) & (slots - 1)
    while windows.starts[slot] >= 0:
        if windows.hashes[slot] == hashed:
            # Equal hashes may be chance: what counts as found was compared.
            same = 0
            while same < SHORTEST and samples[windows.starts[slot] + same] == text[start + same]:
                same += 1
            if same == SHORTEST:
                return slot
        slot = (slot + 1) & (slots - 1)
    return slot


@njit(nogil=True, error_model="numpy")
def _fill_windows(text: np.ndarray, separator: int, automaton: Automaton, windows: Windows) -> None:
    """Put every window of the samples into the table, with its state."""
    bits = np.uint64(len(windows.bits) * 64 - 1)
    state = 0
    clean = 0  # symbols since the last separator
    for i in range(len(text)):
        state = automaton.target[_edge(automaton, state, text[i])]
        while automaton.length[automaton.link[state]] >= SHORTEST:
            state = automaton.link[state]
        clean = 0 if text[i] == separator else clean + 1
        if clean < SHORTEST:
            continue
        start = i + 1 - SHORTEST
        hashed = _hash(text, start)
        slot = _slot(hashed, text, start, text, windows)
        if windows.starts[slot] < 0:
            windows.hashes[slot] = hashed
            windows.starts[slot] = start
            windows.states[slot] = state
            bit = ((hashed * _SPREAD) >> np.uint64(32)) & bits
            windows.bits[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@njit(nogil=True, error_model="numpy")
def _search(
    corpus: np.ndarray,
    limit: int,
    samples: np.ndarray,
    automaton: Automaton,
    windows: Windows,
    best: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Note by state the longest match in the corpus, and where it ends there."""
    oldest = np.uint64(1)  # what a symbol counts when it leaves the window
    for _ in range(SHORTEST):
        oldest *= _BASE
    bits = np.uint64(len(windows.bits) * 64 - 1)
    start = 0
    last_start = min(limit, len(corpus) - SHORTEST + 1) - 1
    while start <= last_start:
        hashed = _hash(corpus, start)
        slot = np.int64(-1)
        while True:
            bit = ((hashed * _SPREAD) >> np.uint64(32)) & bits
            if (windows.bits[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
                slot = _slot(hashed, corpus, start, samples, windows)
                if windows.starts[slot] >= 0:
                    break
            if start == last_start:
                return
            entering = np.uint64(corpus[start + SHORTEST]) + np.uint64(1)
            leaving = np.uint64(corpus[start]) + np.uint64(1)
            hashed = hashed * _BASE + entering - leaving * oldest
            start += 1
        end = _follow(corpus, start, limit, windows.states[slot], automaton, best, ends)
        # No window that ends at `end` or before is in the samples, or all was noted.
        start = end + 2 - SHORTEST


@njit(nogil=True, error_model="numpy")
def _follow(
    corpus: np.ndarray,
    start: int,
    limit: int,
    state: int,
    automaton: Automaton,
    best: np.ndarray,
    ends: np.ndarray,
) -> int:
    """Follow a match from its first window; returns the place of the symbol that ended it."""
    matched = SHORTEST
    i = start + SHORTEST
    while True:
        if matched > best[state]:
            best[state] = matched
            ends[state] = i
        if i == len(corpus):
            return i
        edge = _edge(automaton, state, corpus[i])
        while edge < 0:
            state = automaton.link[state]
            matched = automaton.length[state]
            if matched < SHORTEST - 1:
                return i
            edge = _edge(automaton, state, corpus[i])
        state = automaton.target[edge]
        matched += 1
        i += 1
        # A match that begins behind the limit belongs to the next stretch of the corpus.
        if i - matched >= limit:
            return i


@njit(nogil=True, error_model="numpy")
def _spread(order: np.ndarray, automaton: Automaton, best: np.ndarray, ends: np.ndarray) -> None:
    """From what was matched to what occurs: suffixes of a match do, and a state that was not
    matched has the longest suffix that was.
    """
    length = automaton.length
    link = automaton.link
    for state in order[::-1]:
        suffix = link[state]
        if best[state] > 0 and length[suffix] >= SHORTEST:
            longer = best[suffix] < length[suffix]
            if longer or ends[state] < ends[suffix]:
                best[suffix] = length[suffix]
                ends[suffix] = ends[state]
    for state in order[1:]:
        if best[state] == 0:
            best[state] = best[link[state]]
            ends[state] = ends[link[state]]
