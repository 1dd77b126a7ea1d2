"""Running text, plays and lists of names."""

from __future__ import annotations

import numpy as np

from pipeline.explaining.labels import common
from pipeline.explaining.labels.label import Label, binary, next_is, real, since

_ENDS_SENTENCE = ".!?"


def prose(text: str) -> list[Label]:
    """Labels of prose, those of any text left out."""
    ends = np.fromiter((symbol in _ENDS_SENTENCE for symbol in text), np.bool_, len(text))
    return [
        common.quotes(text),
        *common.brackets(text),
        real("position in sentence", since(ends)),
        binary("before a sentence's end", next_is(ends)),
    ]


def play(text: str) -> list[Label]:
    """Labels of a play: those of prose, speakers' lines and how long a speech has been."""
    speakers = _speakers(text)
    return [
        *prose(text),
        binary("speaker's name", speakers),
        real("position in speech", since(np.frombuffer(speakers, np.uint8) > 0)),
    ]


def names(text: str) -> list[Label]:
    """Labels of a list of names: a line is a name, so there is little beyond any text's."""
    hyphens = np.fromiter((symbol in "-' " for symbol in text), np.bool_, len(text))
    return [binary("joint of a name", hyphens)]


def _speakers(text: str) -> bytearray:
    """The lines that end with a colon and stand behind an empty line."""
    inside = bytearray(len(text))
    start = 0
    is_free = True
    while start < len(text):
        newline = text.find("\n", start)
        stop = len(text) if newline < 0 else newline
        line = text[start:stop]
        if is_free and line.endswith(":") and len(line) < 50:
            inside[start:stop] = b"\x01" * (stop - start)
        is_free = not line.strip()
        start = stop + 1
    return inside
