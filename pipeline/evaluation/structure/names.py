"""Names, one a line: how many the corpus does not have, and how many are written twice."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.evaluation.structure.findings import Found, Tally, Texts, finished


@dataclass(frozen=True)
class KnownNames:
    names: frozenset[bytes]


def learn(reference: bytes) -> KnownNames:
    return KnownNames(frozenset(line.strip().lower() for line in reference.split(b"\n")))


def look(texts: Texts, known: KnownNames) -> Found:
    """The post: 90% of its names were in none of the 8,000 it had learnt from."""
    unseen = Tally("names that the corpus does not have")
    once = Tally("names that were not written before")
    for file, text in texts.items():
        written: set[bytes] = set()
        for at, name in _lines(text):
            plain = name.lower()
            if plain in known.names:
                unseen.fails(file, at, "name of the corpus", name)
            else:
                unseen.holds()
            if plain in written:
                once.fails(file, at, "name is written again", name)
            else:
                once.holds()
            written.add(plain)
    return Found(checks=finished([unseen, once]))


def _lines(text: bytes) -> list[tuple[int, bytes]]:
    """Names with their places, without the last line if it is cut."""
    lines = []
    at = 0
    for line in text.split(b"\n")[:-1]:
        if line.strip():
            lines.append((at, line.strip()))
        at += len(line) + 1
    return lines
