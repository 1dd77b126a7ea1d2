"""Near-duplicates between the training split and held-out text, by windows of text.

By windows and not by documents, since a corpus may be one file. A window of held-out text counts
when one place of the training split has at least 0.8 of its distinct shingles of 8 symbols. The
search (minhash.py) may miss some: how many is measured on every corpus, with windows of its own
training text that were edited by as much and are looked for in the same pass. A passage of 511
symbols is sure to hold a whole window.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.corpora.manifest import Corpus, open_version
from pipeline.corpora.shards import TokenSource
from pipeline.corpora.trace import Tracer
from pipeline.counter_rng import key_of, uniforms
from pipeline.evaluation.minhash import (
    REACH,
    SHINGLE,
    STRIDE,
    WINDOW,
    WindowIndex,
    containment_of,
)
from pipeline.evaluation.section import Section
from pipeline.tasks import Runner, run_here, watched

THRESHOLD = 0.8
TASK_TOKENS = 1 << 26
PLANTED = 400
EXAMPLES = 5
_MOST_EDITS = 6  # each changes up to 8 of 256 shingles, so 6 leave about 0.81 of them


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A stretch [start, stop) of held-out tokens, and the training text that is nearly the same.

    `containment` is that of its best window, `place` the token of the training split near which
    that stands.
    """

    start: int
    stop: int
    containment: float
    place: int
    path: str
    train_path: str


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """How much of a held-out split nearly stands in the training split, and which stretches do.

    Of `planted` edited windows `found` were found again: the recall.
    """

    corpus: str
    split: str
    threshold: float
    windows: int
    tokens: int
    bytes: int
    duplicate_bytes: int
    planted: int
    found: int
    stretches: tuple[Duplicate, ...]

    @property
    def share(self) -> float:
        """Of the split's bytes, those within a near-duplicate."""
        return self.duplicate_bytes / max(1, self.bytes)

    @property
    def recall(self) -> float:
        return self.found / max(1, self.planted)

    def kept(self) -> np.ndarray:
        """For each token of the split, whether it lies in no near-duplicate, (tokens,)."""
        kept = np.ones(self.tokens, np.bool_)
        for stretch in self.stretches:
            kept[stretch.start : stretch.stop] = False
        return kept

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "share": self.share,
            "recall": self.recall,
            "window": WINDOW,
            "shingle": SHINGLE,
            "stretches": [vars(stretch) for stretch in self.stretches],
        }


def near_duplicates(
    corpus: Corpus,
    run: Runner = run_here,
    *,
    split: str = "val",
    threshold: float = THRESHOLD,
    planted: int = PLANTED,
    task_tokens: int = TASK_TOKENS,
) -> NearDuplicates:
    """Look for windows of `split` in the training split. Any number of workers gives the same.

    A window of fewer than 64 distinct shingles (blanks, rows of dashes) is none, nor is a split
    that is shorter than a window.
    """
    size = corpus.tokens_in("train")
    tasks = [
        _Stretch(corpus.url, split, start, min(size, start + task_tokens), threshold, planted)
        for start in range(0, size, task_tokens)
    ]
    held_out = _window_starts(corpus.tokens_in(split))
    best: dict[int, tuple[float, int]] = {}
    sizes = [task.stop - task.start for task in tasks]
    shown = watched(run, f"near-duplicates of {split}", sizes)
    for _, rows in shown(_search_stretch, tasks):
        for window, containment, place in rows:
            # The better of two places, of equal ones the first: in whatever order tasks end.
            known = best.get(window, (0.0, 0))
            if (containment, -place) > (known[0], -known[1]):
                best[window] = (containment, place)
    stretches = _stretches(corpus, split, held_out, best)
    tracer = Tracer(corpus)
    inside = [len(tracer.text(split, each.start, each.stop)) for each in stretches]
    true = _planted(corpus.open_split("train"), planted, threshold)
    first_planted = len(held_out)
    return NearDuplicates(
        corpus=f"{corpus.name}@{corpus.version}",
        split=split,
        threshold=threshold,
        windows=len(held_out),
        tokens=corpus.tokens_in(split),
        bytes=corpus.bytes_in(split),
        duplicate_bytes=sum(inside),
        planted=len(true),
        found=sum(window >= first_planted for window in best),
        stretches=tuple(stretches),
    )


def section(result: NearDuplicates) -> Section:
    """The share, the measured recall, and the longest stretches with both places."""
    rows = [("held-out text", "symbols", "shared", "training text")]
    longest = sorted(result.stretches, key=lambda each: each.start - each.stop)
    for each in longest[:EXAMPLES]:
        symbols = f"{each.stop - each.start:,}"
        rows.append((each.path, symbols, f"{100 * each.containment:.0f}%", each.train_path))
    lead = (
        f"{100 * result.share:.1f}% of the bytes of {result.split} lie in a near-duplicate of "
        f"training text: a window of {WINDOW} symbols of which one place there has at least "
        f"{100 * result.threshold:.0f}% of the shingles of {SHINGLE}. Candidates come from "
        f"MinHash and are compared exactly; of {result.planted} planted windows the search found "
        f"{result.found}."
    )
    return Section(title="Near-duplicates", lead=lead, table=tuple(rows))


@dataclass(frozen=True)
class _Stretch:
    """A task: windows of `split` in [start, stop) of the training split."""

    url: str
    split: str
    start: int
    stop: int
    threshold: float
    planted: int


def _search_stretch(task: _Stretch) -> list[tuple[int, float, int]]:
    """(window, containment, place) of the windows that one stretch has nearly."""
    tokens = open_version(task.url).open_split("train")
    index = _indexed(task.url, task.split, task.planted, task.threshold)
    # A stride before the stretch and a window behind it: what its windows are compared with.
    start = max(0, task.start - STRIDE)
    stop = min(len(tokens), task.stop + REACH + STRIDE)
    corpus = np.array(tokens.read(start, stop))
    found = index.match(corpus, task.stop - start, task.threshold, start)
    windows = np.flatnonzero(found.containment >= task.threshold)
    containment = found.containment[windows].tolist()
    places = found.places[windows].tolist()
    return list(zip(windows.tolist(), containment, places, strict=True))


@functools.lru_cache(maxsize=1)  # a worker's tasks are of one job
def _indexed(url: str, split: str, planted: int, threshold: float) -> WindowIndex:
    """The windows of held-out text, and behind them the planted ones."""
    corpus = open_version(url)
    tokens = corpus.open_split(split)
    held_out = np.asarray(tokens.read(0, len(tokens)))
    added = _planted(corpus.open_split("train"), planted, threshold)
    starts = _window_starts(len(held_out))
    behind = len(held_out) + REACH * np.arange(len(added))
    text = np.concatenate([held_out, *added]) if added else held_out
    return WindowIndex(text, np.concatenate([starts, behind]))


def _window_starts(tokens: int) -> np.ndarray:
    """Windows side by side; the last one is moved back to end with the text."""
    last = tokens - REACH
    if last < 0:
        return np.empty(0, np.int64)
    starts = np.arange(0, last + 1, WINDOW)
    return starts if starts[-1] == last else np.append(starts, last)


def _planted(train: TokenSource, count: int, threshold: float) -> list[np.ndarray]:
    """Edited windows of the training text that it has to `threshold` or more, each REACH symbols.

    Edits are substitutions, insertions and deletions, 0 to 6 of them.
    """
    room = REACH + _MOST_EDITS
    last = len(train) - room
    if last < 0 or count < 1:
        return []
    windows = []
    numbers = uniforms([key_of(7, index) for index in range(count)], 0, 2 + 3 * _MOST_EDITS)
    for row in numbers:
        start = int(row[0] * (last + 1))
        source = np.array(train.read(start, start + room))
        window = _edited(source, row[2:], int(row[1] * (_MOST_EDITS + 1)))
        region = train.read(max(0, start - STRIDE), min(len(train), start + room + STRIDE))
        # Edits that fell together on a row of dashes may have left too little to be a duplicate.
        if containment_of(window, region) >= threshold:
            windows.append(window)
    return windows


def _edited(source: np.ndarray, numbers: np.ndarray, edits: int) -> np.ndarray:
    """REACH symbols of a text with some edits at random places."""
    symbols = source.tolist()
    for edit in range(edits):
        kind, where, what = numbers[3 * edit : 3 * edit + 3]
        place = int(where * REACH)
        other = symbols[int(what * len(symbols))]
        if kind < 1 / 3:
            symbols[place] = other
        elif kind < 2 / 3:
            symbols.insert(place, other)
        else:
            del symbols[place]
    return np.array(symbols[:REACH], source.dtype)


def _stretches(
    corpus: Corpus, split: str, starts: np.ndarray, best: dict[int, tuple[float, int]]
) -> list[Duplicate]:
    """Near-duplicate windows that touch or overlap as one stretch."""
    tracer = Tracer(corpus)
    stretches: list[Duplicate] = []
    for window in sorted(window for window in best if window < len(starts)):
        start = int(starts[window])
        stop = start + WINDOW
        containment, place = best[window]
        before = stretches[-1] if stretches else None
        if before is not None and start <= before.stop:
            stretches.pop()
            start = before.start
            if before.containment >= containment:
                containment = before.containment
                place = before.place
        stretches.append(
            Duplicate(
                start=start,
                stop=stop,
                containment=containment,
                place=place,
                path=tracer.origin(split, start).path,
                train_path=tracer.origin("train", place).path,
            )
        )
    return stretches
