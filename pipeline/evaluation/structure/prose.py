"""Prose: words that the corpus has, sentences as long as the corpus's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.evaluation.structure.findings import Figure, Found, Tally, Texts, finished, median
from pipeline.evaluation.structure.lengths import Lengths

# Bytes above 127 belong to a word: what they mean depends on the encoding, a word does not.
_WORD = re.compile(rb"[A-Za-z\x80-\xff]+(?:['-][A-Za-z\x80-\xff]+)*+")
# A sentence ends at . ! or ?, with a quote behind it perhaps, before a space, or at an empty line.
_SENTENCE_END = re.compile(rb"[.!?][\"')\]]{0,3}(?=\s)|\n[ \t]*\n")


@dataclass(frozen=True)
class Language:
    """Words of the corpus, and how long its sentences are."""

    words: frozenset[bytes]
    sentences: Lengths


def learn(reference: bytes) -> Language:
    words = frozenset(word.lower() for word in _WORD.findall(reference))
    return Language(words, Lengths.of([count for _, _, count in sentences(reference)]))


def look(texts: Texts, known: Language) -> Found:
    words = Tally("words that the corpus has")
    usual = Tally("sentences of a length that 90% of the corpus's have")
    lengths: list[int] = []
    for file, text in texts.items():
        for match in _WORD.finditer(text):
            if match.group().lower() in known.words:
                words.holds()
            elif match.start() > 0 and match.end() < len(text):  # both ends may be cut
                words.fails(file, match.start(), "word is not in the corpus", match.group())
        for start, end, count in sentences(text):
            lengths.append(count)
            if known.sentences.holds(count):
                usual.holds()
            else:
                usual.fails(file, start, f"sentence of {count} words", text[start:end])
    figures = (
        Figure(name="words of a sentence, median", value=median(lengths)),
        Figure(
            name="distance of sentence lengths from the corpus's (Kolmogorov-Smirnov)",
            value=known.sentences.distance(lengths),
        ),
    )
    return Found(checks=finished([words, usual]), figures=figures, notes=known.sentences.notes())


def sentences(text: bytes) -> Iterator[tuple[int, int, int]]:
    """Each sentence's start, end and number of words. The last, cut one is left out."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        count = len(_WORD.findall(text, start, match.end()))
        if count:
            yield start + _leading_space(text, start, match.end()), match.end(), count
        start = match.end()


def _leading_space(text: bytes, start: int, end: int) -> int:
    part = text[start:end]
    return len(part) - len(part.lstrip())
