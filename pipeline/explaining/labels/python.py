"""Python: strings of all quotes, comments, brackets, if-conditions."""

from __future__ import annotations

import re

import numpy as np

from pipeline.explaining.labels import common
from pipeline.explaining.labels.label import Label, binary

COMMENT = "#"  # a state; the other states are the quotes that would close a string, "" is code
# A held-out text may begin within a string, and a sample may leave one open: all quotes behind it
# would be read the wrong way round. Hardly any string has such a line; there it counts as code.
_DEFINITION = re.compile(r"[ \t]{0,60}(?:async )?(?:def|class) \w{1,80}[(:]")
_TRIPLES = ('"""', "'''")


def labels(text: str) -> list[Label]:
    """Labels of Python code, those of any text left out."""
    states = scan(text)
    string = np.array([state not in ("", COMMENT) for state in states], np.bool_)
    triple = np.array([state in _TRIPLES for state in states], np.bool_)
    comment = np.array([state == COMMENT for state in states], np.bool_)
    no_code = string | comment
    bracketed = common.brackets(text, no_code, _definitions(text))
    return [
        binary("inside quotes", string),
        binary("inside triple quotes", triple),
        binary("inside a comment", comment),
        binary("inside a comment or quotes", no_code),
        *bracketed,
        binary("inside an if-condition", _conditions(text, no_code, bracketed[1].values)),
        common.indentation(text),
    ]


def scan(text: str) -> list[str]:
    """What each symbol stands in once it was read: a string's quotes, COMMENT, or "" for code.

    A string of one line ends with its line, unless a backslash stands before the newline. A
    definition ends every string.
    """
    states = []
    state = ""
    start = 0
    escaped = False
    begins = _definitions(text).tobytes()
    for place, symbol in enumerate(text):
        if begins[place]:
            state = ""
            escaped = False
        if escaped:
            escaped = False
        elif state == "":
            state = _opened(text, place)
            start = place
        elif state == COMMENT:
            state = "" if symbol == "\n" else state
        elif symbol == "\\":
            escaped = True
        elif _closes(text, place, state, start) or (symbol == "\n" and len(state) == 1):
            state = ""
        states.append(state)
    return states


def _definitions(text: str) -> np.ndarray:
    """The first symbols of lines (N,) that begin a function or a class."""
    marks = np.zeros(len(text), np.bool_)
    start = 0
    while start < len(text):
        marks[start] = _DEFINITION.match(text, start) is not None
        newline = text.find("\n", start)
        start = len(text) if newline < 0 else newline + 1
    return marks


def _opened(text: str, place: int) -> str:
    """What the symbol at a place of code opens; "" for nothing."""
    symbol = text[place]
    if symbol in "\"'":
        triple = text[place : place + 3]
        return triple if triple in _TRIPLES else symbol
    return COMMENT if symbol == COMMENT else ""


def _closes(text: str, place: int, quotes: str, start: int) -> bool:
    """Whether a string that these quotes opened at `start` ends at a place."""
    is_behind_opening = place - start >= 2 * len(quotes) - 1
    return is_behind_opening and text[place + 1 - len(quotes) : place + 1] == quotes


def _conditions(text: str, no_code: np.ndarray, depths: np.ndarray) -> bytearray:
    """From the symbol behind `if` or `elif` up to the colon that ends the condition.

    One within an expression has no colon: `else` ends it, a newline outside brackets, or the
    bracket that closes around it. `depths` (N,) are those of brackets.
    """
    inside = bytearray(len(text))
    is_on = False
    own_depth = 0
    depth_of = depths.tolist()
    is_no_code = no_code.tobytes()
    word = ""
    for place, symbol in enumerate(text):
        if not is_no_code[place]:
            if symbol.isalnum() or symbol == "_":
                # A word longer than "elif" is neither: no need to keep it.
                word = (word + symbol)[:5]
                if is_on and word == "else":
                    is_on = False
            else:
                if word in ("if", "elif"):
                    is_on = True
                    own_depth = depth_of[place]
                word = ""
                is_ended = symbol in ":\n" and depth_of[place] <= own_depth
                if is_ended or depth_of[place] < own_depth:
                    is_on = False
        inside[place] = is_on
    return inside
