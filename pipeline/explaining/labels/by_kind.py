"""All labels of a text, by the kind of its corpus."""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline.corpora.vocab import Unit
from pipeline.errors import InputError
from pipeline.explaining.labels import c, common, latex, prose, python, wiki
from pipeline.explaining.labels.label import Label
from pipeline.recipes import KINDS
from pipeline.settings import nearest

_SCANNERS: dict[str, Callable[[str], list[Label]]] = {
    "c": c.labels,
    "latex": latex.labels,
    "wiki": wiki.labels,
    "python": python.labels,
    "play": prose.play,
    "names": prose.names,
    "prose": prose.prose,
}


# Files of old Macs, such as the post's War and Peace, end lines by a carriage return alone.
_LONE_RETURN = re.compile(r"\r(?!\n)")


def labels_of(text: bytes, kind: str, unit: Unit) -> list[Label]:
    """The labels of a text, a value for each of its symbols: bytes or characters, as `unit` says.

    InputError for a kind that there is not.
    """
    if kind not in _SCANNERS:
        raise InputError(
            f"kind is {kind!r}; it must be one of {', '.join(KINDS)}.{nearest(kind, KINDS)}"
        )
    # Latin-1 has a character for every byte; those that labels look for are ASCII.
    symbols = with_newlines(text.decode("latin-1" if unit == "byte" else "utf-8"))
    return [*common.labels(symbols), *_SCANNERS[kind](symbols)]


def with_newlines(text: str) -> str:
    """The text, as long as before, with a newline for each carriage return that ends a line."""
    return _LONE_RETURN.sub("\n", text)
