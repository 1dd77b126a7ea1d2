"""What kind of place each symbol of a text stands at: in a word, behind a blank, closing a bracket.

Pure numpy and numba. Shapes: N symbols of a text, byte values or code points.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from pipeline.compiled_code import njit
from pipeline.corpora.manifest import Corpus, open_version
from pipeline.corpora.vocab import Unit
from pipeline.tasks import Runner, run_here, watched

REPEAT = 8  # symbols: what ends such a stretch that occurred before was there to be copied
PAIRS = {"(": ")", "[": "]", "{": "}"}
QUOTE = '"'
TASK_TOKENS = 1 << 26
_LONGEST_WORD = 1000  # symbols: what goes on longer is taken for another word at a task's end
# Stands for the unknown token, and is taken for a letter that no word of a text is spelled with: a
# word with an unknown symbol in it must not count as its remaining letters.
_UNKNOWN = 0xFFFD
_BASE = np.uint64(0xD1342543DE82EF95)


@dataclass(frozen=True)
class Words:
    """The words of a text: runs of letters, digits and underscores; (M,) each."""

    starts: np.ndarray
    stops: np.ndarray
    hashes: np.ndarray

    def mask(self, chosen: np.ndarray, symbols: int) -> np.ndarray:
        """Which of a text's symbols lie in the chosen words, (N,)."""
        change = np.zeros(symbols + 1, np.int64)
        change[self.starts[chosen]] += 1
        change[self.stops[chosen]] -= 1
        return np.cumsum(change)[:symbols] > 0


def words_of(symbols: np.ndarray, unit: Unit) -> Words:
    """The words of a text, each with a 64-bit hash of its symbols.

    In the byte unit, bytes above 127 count as letters: they are parts of characters.
    """
    inside = _is_word(symbols, unit)
    edges = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0))
    starts = edges[::2]
    stops = edges[1::2]
    return Words(starts, stops, _hashes(symbols.astype(np.uint32), starts, stops))


@njit(nogil=True, error_model="numpy")
def _hashes(symbols: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """A hash of each word's first _LONGEST_WORD symbols."""
    hashes = np.zeros(len(starts), np.uint64)
    for word in range(len(starts)):
        value = np.uint64(0)
        for at in range(starts[word], min(stops[word], starts[word] + _LONGEST_WORD)):
            value = value * _BASE + np.uint64(symbols[at]) + np.uint64(1)
        hashes[word] = value
    return hashes


def train_word_counts(
    corpus: Corpus, words: Words, run: Runner = run_here, task_tokens: int = TASK_TOKENS
) -> np.ndarray:
    """How often each of `words` occurs in the training split, (M,). The split streams past."""
    distinct, index = np.unique(words.hashes, return_inverse=True)
    size = corpus.tokens_in("train")
    tasks = [
        _Stretch(corpus.url, start, min(size, start + task_tokens), distinct)
        for start in range(0, size, task_tokens)
    ]
    counts = np.zeros(len(distinct), np.int64)
    sizes = [task.stop - task.start for task in tasks]
    shown = watched(run, f"words of {corpus.name}", sizes)
    for _, result in shown(_count_stretch, tasks):
        counts += np.array(result, np.int64)
    return counts[index]


def repeats(symbols: np.ndarray, within: int) -> np.ndarray:
    """Which symbols end a stretch of 8 that also ended at most `within` symbols before, (N,)."""
    found = np.zeros(len(symbols), np.bool_)
    count = len(symbols) - REPEAT + 1
    if count < 2:
        return found
    hashes = np.zeros(count, np.uint64)
    for offset in range(REPEAT):
        hashes = hashes * _BASE + symbols[offset : offset + count].astype(np.uint64) + np.uint64(1)
    # Equal stretches side by side, each behind the one before it in the text.
    order = np.argsort(hashes, kind="stable")
    same = hashes[order[1:]] == hashes[order[:-1]]
    near = np.diff(order) <= within
    found[order[1:][same & near] + REPEAT - 1] = True
    return found


def with_newlines(symbols: np.ndarray) -> np.ndarray:
    """Symbols (N,) with a newline for each carriage return that ends a line alone, as in files of
    old Macs such as the post's War and Peace.
    """
    is_lone = symbols == ord("\r")
    is_lone[:-1] &= symbols[1:] != ord("\n")
    return np.where(is_lone, ord("\n"), symbols).astype(symbols.dtype)


def follows(symbols: np.ndarray, character: str) -> np.ndarray:
    """Which symbols stand right behind a character, (N,)."""
    found = np.zeros(len(symbols), np.bool_)
    found[1:] = symbols[:-1] == ord(character)
    return found


def opener_distances(symbols: np.ndarray) -> np.ndarray:
    """For each symbol that closes a bracket or a quotation, how far before its opener stands.

    0 for all others, (N,). Each kind is paired by itself. A blank line ends an open quotation:
    without that, one inch mark would turn all later ones inside out.
    """
    distances = np.zeros(len(symbols), np.int64)
    closers = {ord(close): ord(opening) for opening, close in PAIRS.items()}
    open_places: dict[int, list[int]] = {opening: [] for opening in closers.values()}
    quoted = -1
    relevant = [*closers, *open_places, ord(QUOTE), ord("\n")]
    for place in np.flatnonzero(np.isin(symbols, relevant)).tolist():
        symbol = int(symbols[place])
        if symbol in open_places:
            open_places[symbol].append(place)
        elif symbol in closers:
            stack = open_places[closers[symbol]]
            if stack:
                distances[place] = place - stack.pop()
        elif symbol == ord("\n"):
            if place and symbols[place - 1] == ord("\n"):
                quoted = -1
        elif quoted < 0:
            quoted = place
        else:
            distances[place] = place - quoted
            quoted = -1
    return distances


@dataclass(frozen=True)
class _Stretch:
    """A task: words that begin in [start, stop) of the training split, by hash in order."""

    url: str
    start: int
    stop: int
    distinct: np.ndarray


def _count_stretch(task: _Stretch) -> list[int]:
    """How often each distinct word begins in one stretch."""
    corpus = open_version(task.url)
    tokens = corpus.open_split("train")
    vocab = corpus.vocab
    # One token before, to see whether a word begins at the first; on by a word behind the last.
    low = max(0, task.start - 1)
    high = min(len(tokens), task.stop + _LONGEST_WORD)
    by_token = np.array(
        [_UNKNOWN if symbol is None else symbol for symbol in vocab.symbols], np.uint32
    )
    words = words_of(by_token[tokens.read(low, high)], vocab.unit)
    starts = words.starts + low
    # The token before only says whether a word goes on at the first.
    first = task.start if task.start == low else low + 1
    own = words.hashes[(starts >= first) & (starts < task.stop)]
    place = np.searchsorted(task.distinct, own)
    place[place == len(task.distinct)] = 0
    counts = np.zeros(len(task.distinct), np.int64)
    if len(task.distinct):
        hits = task.distinct[place] == own
        counts += np.bincount(place[hits], minlength=len(counts))
    return counts.tolist()


def _is_word(symbols: np.ndarray, unit: Unit) -> np.ndarray:
    """Which symbols are letters, digits or underscores, (N,)."""
    # By tables: np.unique and np.isin sort, which on a corpus's stretch took ten times as long.
    occurs = np.zeros(sys.maxunicode + 1, np.bool_)
    occurs[symbols] = True
    is_word = np.zeros(sys.maxunicode + 1, np.bool_)
    for symbol in np.flatnonzero(occurs).tolist():
        is_word[symbol] = (
            chr(symbol).isalnum()
            or symbol in (ord("_"), _UNKNOWN)
            or (unit == "byte" and symbol > 127)
        )
    return is_word[symbols]
