"""LaTeX: environments that end by their own name, mathematics that closes, references that lead
somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.evaluation.structure.findings import EXCERPT, Found, Tally, Texts, finished, joined
from pipeline.evaluation.structure.nesting import Balance, Event

_COMMENT = re.compile(rb"(?<!\\)(?:\\\\)*+%[^\n]*")
_NOT_NEWLINE = re.compile(rb"[^\n]")
_ENVIRONMENT = re.compile(rb"\\(begin|end)[ \t]*\{([^{}\n\\]{1,60})\}")
_DELIMITER = re.compile(rb"\\(\\|\[|\]|\(|\)|left(?![a-zA-Z])|right(?![a-zA-Z]))")
_BRACE = re.compile(rb"\\[\s\S]|([{}])")
_PARAGRAPH = re.compile(rb"(?:[^\n]|\n(?![ \t]*\n))++")
_DOLLARS = re.compile(rb"\\[\s\S]|(\$\$?)")
_REFERENCE = re.compile(rb"\\(?:[a-zA-Z]{0,9})ref[ \t]*\{([^{}\n]{1,200})\}")
_LABEL = re.compile(rb"\\label[ \t]*\{([^{}\n]{1,200})\}")
_CLOSERS = {b"]": "\\[", b")": "\\(", b"right": "\\left"}


@dataclass(frozen=True)
class Labels:
    """The labels of the corpus."""

    names: frozenset[bytes]


def learn(reference: bytes) -> Labels:
    return Labels(frozenset(_LABEL.findall(reference)))


def look(texts: Texts, known: Labels) -> Found:
    environments = Balance("environments", wrong_closes=True)
    delimiters = Balance("delimiters of mathematics", wrong_closes=True)
    braces = Balance("braces", wrong_closes=False)
    dollars = Tally("paragraphs whose dollar signs close")
    inner = Tally("references to a label of the same sample")
    outer = Tally("references to a label of the sample or the corpus")
    for file, text in texts.items():
        code = without_comments(text)
        environments.add(file, text, environment_events(code))
        delimiters.add(file, text, _delimiter_events(code))
        braces.add(file, text, _brace_events(code))
        _count_dollars(file, code, dollars)
        _count_references(file, code, known, inner, outer)
    return joined(
        [
            environments.found(),
            delimiters.found(),
            braces.found(),
            Found(checks=finished([dollars, inner, outer])),
        ]
    )


def without_comments(text: bytes) -> bytes:
    """The text with comments blanked; every offset and every line stays."""
    return _COMMENT.sub(lambda match: _NOT_NEWLINE.sub(b" ", match.group()), text)


def environment_events(code: bytes) -> Iterator[Event]:
    for match in _ENVIRONMENT.finditer(code):
        name = match.group(2).decode("utf-8", "replace")
        yield Event(match.start(), name, match.group(1) == b"begin")


def open_dollars(paragraph: bytes) -> int | None:
    """Where the dollar sign stands that a paragraph leaves open; None where all are closed.

    `$$` ends one formula and begins another inside of `$`, as in `$a$$b$`.
    """
    opened: int | None = None
    is_display = False
    for match in _DOLLARS.finditer(paragraph):
        sign = match.group(1)
        if not sign:
            continue  # an escaped one
        if opened is None:
            opened = match.start()
            is_display = sign == b"$$"
        elif is_display:
            if sign == b"$":
                return opened  # TeX: display math should end with $$
            opened = None
        elif sign == b"$":
            opened = None
        else:
            opened = match.start() + 1
    return opened


def _delimiter_events(code: bytes) -> Iterator[Event]:
    for match in _DELIMITER.finditer(code):
        sign = match.group(1)
        if sign == b"\\":
            continue  # a line break, as in \\[2pt]
        closes = sign in _CLOSERS
        yield Event(match.start(), _CLOSERS.get(sign, "\\" + sign.decode()), not closes)


def _brace_events(code: bytes) -> Iterator[Event]:
    for match in _BRACE.finditer(code):
        if match.group(1):
            yield Event(match.start(), "{", match.group(1) == b"{")


def _count_dollars(file: str, code: bytes, dollars: Tally) -> None:
    """A paragraph ends a formula for TeX, too. The sample's last one may be cut: left out if so."""
    for paragraph in _PARAGRAPH.finditer(code):
        if b"$" not in paragraph.group():
            continue
        at = open_dollars(paragraph.group())
        if at is None:
            dollars.holds()
        elif paragraph.end() < len(code):
            shown = paragraph.group()[at : at + EXCERPT]
            dollars.fails(file, paragraph.start() + at, "formula is not closed", shown)


def _names_of(label: bytes) -> list[bytes]:
    """A label as another file may have it: the Stacks project puts its file's name in front, so
    that `more-algebra-lemma-flat` is `lemma-flat` of more-algebra.tex.
    """
    words = label.split(b"-")
    return [b"-".join(words[skipped:]) for skipped in range(min(5, len(words)))]


def _count_references(file: str, code: bytes, known: Labels, inner: Tally, outer: Tally) -> None:
    own = set(_LABEL.findall(code))
    for match in _REFERENCE.finditer(code):
        label = match.group(1)
        in_corpus = any(name in known.names for name in _names_of(label))
        for tally, there in ((inner, label in own), (outer, label in own or in_corpus)):
            if there:
                tally.holds()
            else:
                tally.fails(file, match.start(), "label does not exist", match.group())
