"""Plays: who speaks, and for how long, against the corpus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.evaluation.structure.findings import Figure, Found, Tally, Texts, finished, median
from pipeline.evaluation.structure.lengths import Lengths

# "First Citizen:" alone on its line, behind an empty line or at the text's start.
_SPEAKER = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))([A-Z][A-Za-z' .,-]{0,40}):[ \t\r]*\n")
_PER = 100  # speeches


@dataclass(frozen=True)
class Speech:
    """`start` is where the speaker's name stands."""

    start: int
    speaker: bytes
    words: int


@dataclass(frozen=True)
class Cast:
    """Who speaks in the corpus, and how long speeches are."""

    speakers: frozenset[bytes]
    speeches: Lengths


def learn(reference: bytes) -> Cast:
    known = list(speeches(reference))
    speakers = frozenset(speech.speaker for speech in known)
    return Cast(speakers, Lengths.of([speech.words for speech in known]))


def look(texts: Texts, known: Cast) -> Found:
    speakers = Tally("speeches of a speaker that the corpus has")
    usual = Tally("speeches of a length that 90% of the corpus's have")
    lengths: list[int] = []
    spread: list[float] = []
    for file, text in texts.items():
        own = list(speeches(text))
        for speech in own:
            lengths.append(speech.words)
            if speech.speaker in known.speakers:
                speakers.holds()
            else:
                speakers.fails(file, speech.start, "speaker is not in the corpus", speech.speaker)
            if known.speeches.holds(speech.words):
                usual.holds()
            else:
                kind = f"speech of {speech.words} words"
                usual.fails(file, speech.start, kind, text[speech.start : speech.start + 200])
        spread += speakers_per_hundred(own)
    figures = (
        Figure(name="words of a speech, median", value=median(lengths)),
        Figure(
            name="distance of speech lengths from the corpus's (Kolmogorov-Smirnov)",
            value=known.speeches.distance(lengths),
        ),
        Figure(name="speakers in 100 speeches, median", value=median(spread)),
    )
    return Found(checks=finished([speakers, usual]), figures=figures, notes=known.speeches.notes())


def speeches(text: bytes) -> Iterator[Speech]:
    """Speeches in order. The last one, which the text's end cuts, is left out."""
    before: re.Match[bytes] | None = None
    for match in _SPEAKER.finditer(text):
        if before is not None:
            words = len(text[before.end() : match.start()].split())
            yield Speech(before.start(), before.group(1), words)
        before = match


def speakers_per_hundred(own: list[Speech]) -> list[float]:
    """How many speak in each hundred speeches in a row; a rest of fewer is left out."""
    counts = []
    for start in range(0, len(own) - _PER + 1, _PER):
        counts.append(float(len({speech.speaker for speech in own[start : start + _PER]})))
    return counts
