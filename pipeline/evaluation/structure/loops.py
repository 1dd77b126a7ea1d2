"""Any text: loops, entropy, whole characters.

A loop is what a model falls into near temperature zero: the post's "is that they were all the same
thing that was a startup is that they were all the same thing". It is found by windows: a window
that stood `period` bytes before, again and again.
"""

from __future__ import annotations

import lzma
import re
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.structure.findings import (
    EXCERPT,
    Figure,
    Found,
    Tally,
    Texts,
    finished,
    median,
)

WINDOW = 16  # bytes that are compared at once; shorter periods are found as well
TIMES = 3  # a loop says the same thing at least so often
SHORTEST = 128  # bytes: a row of dashes is no loop
LONGEST_PERIOD = 2_000
_BASE = np.uint64(0x9E3779B97F4A7C15)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Loop:
    """Text that repeats itself. `start` is the onset: where the first round begins."""

    start: int
    end: int
    period: int


def learn(reference: bytes) -> None:
    """Nothing here is measured against the corpus."""
    del reference


def look(texts: Texts, known: None) -> Found:
    del known
    free = Tally("bytes outside of loops")
    stuck = Tally("samples that do not end in a loop")
    whole = Tally("bytes of whole UTF-8 characters")
    periods: list[float] = []
    onsets: list[float] = []
    for file, text in texts.items():
        in_loops = 0
        ends_in_loop = False
        for loop in loops(text):
            in_loops += loop.end - loop.start
            periods.append(loop.period)
            kind = f"loop of period {loop.period}, {loop.end - loop.start} bytes"
            shown = text[loop.start : loop.start + min(loop.period, EXCERPT)]
            free.note(file, loop.start, kind, shown)
            if loop.end == len(text):
                ends_in_loop = True
                onsets.append(loop.start)
                stuck.fails(file, loop.start, kind, shown)
        free.count += len(text) - in_loops
        free.out_of += len(text)
        if not ends_in_loop:
            stuck.holds()
        _count_characters(file, text, whole)
    figures = (
        Figure(name="period of loops, median", value=median(periods)),
        Figure(name="onset of loops that never end, median", value=median(onsets)),
        *entropies(b"".join(texts.values())),
    )
    return Found(checks=finished([free, stuck, whole]), figures=figures)


def loops(text: bytes) -> list[Loop]:
    """Stretches that say the same thing TIMES times or more, in order, none inside of another."""
    distance = distances(text)
    found: list[Loop] = []
    free = 0  # where the loop before ends
    # Within a loop most windows stand one period behind their like. A round that repeats itself
    # in part has windows with a smaller distance: so a change of distance is only a hint.
    changes = np.flatnonzero(np.diff(distance, prepend=0))
    for at in changes[distance[changes] > 0].tolist():
        period = int(distance[at])
        if at < free or text[at - period : at + period] != text[at : at + 2 * period]:
            continue
        start = _first(text, max(at - period, free), period, free)
        end = _last(text, at + 2 * period, period)
        if end - start >= max(TIMES * period, SHORTEST):
            found.append(Loop(start, end, period))
            free = end
    return found


def distances(text: bytes) -> np.ndarray:
    """For each window of the text, how far back the same window stood last; 0 for too far, never.

    (N - WINDOW + 1,) int64. Windows are compared by a hash of 64 bits.
    """
    data = np.frombuffer(text, np.uint8)
    if len(data) < WINDOW:
        return np.zeros(0, np.int64)
    hashes = np.zeros(len(data) - WINDOW + 1, np.uint64)
    for offset in range(WINDOW):
        hashes = hashes * _BASE + data[offset : offset + len(hashes)]
    order = np.argsort(hashes, kind="stable")
    same = hashes[order[1:]] == hashes[order[:-1]]
    back = np.where(same, order[1:] - order[:-1], 0)
    distance = np.zeros(len(hashes), np.int64)
    distance[order[1:]] = np.where(back <= LONGEST_PERIOD, back, 0)
    return distance


def entropies(text: bytes) -> tuple[Figure, ...]:
    """What a byte of the text tells, in bits: alone, behind two others, and to xz.

    Those behind two others come out too low for a short text: they mean something only beside a
    text of the same size.
    """
    data = np.frombuffer(text, np.uint8).astype(np.int64)
    alone = _entropy(data)
    behind: float | None = None
    packed: float | None = None
    if len(data) > 2:
        pairs = data[:-2] * 256 + data[1:-1]
        behind = (_entropy(pairs * 256 + data[2:]) or 0.0) - (_entropy(pairs) or 0.0)
        packed = 8 * len(lzma.compress(text, preset=6)) / len(text)
    return (
        Figure(name="entropy of a byte, bits", value=alone),
        Figure(name="entropy of a byte behind two others, bits", value=behind),
        Figure(name="xz, bits per byte", value=packed),
    )


def _entropy(values: np.ndarray) -> float | None:
    if not len(values):
        return None
    counts = np.unique(values, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # never -0.0


def _first(text: bytes, start: int, period: int, lowest: int) -> int:
    """How far to the left a loop reaches."""
    while start > lowest and text[start - 1] == text[start - 1 + period]:
        start -= 1
    return start


def _last(text: bytes, end: int, period: int) -> int:
    """How far to the right a loop reaches."""
    while end < len(text) and text[end] == text[end - period]:
        end += 1
    return end


def _count_characters(file: str, text: bytes, tally: Tally) -> None:
    decoded = text.decode("utf-8", "surrogateescape")
    bad = 0
    at = 0
    byte_at = 0
    for match in _NOT_UTF8.finditer(decoded):
        bad += 1
        if bad <= 100:  # a place costs the way to it
            byte_at += len(decoded[at : match.start()].encode("utf-8", "surrogateescape"))
            at = match.start()
            tally.note(file, byte_at, "byte of no character", text[byte_at : byte_at + 1])
    tally.count += len(text) - bad
    tally.out_of += len(text)
