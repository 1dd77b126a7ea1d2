"""Python: strings of all quotes, comments, brackets, if-conditions."""

from __future__ import annotations

import numpy as np

from pipeline.explaining.labels import common
from pipeline.explaining.labels.label import Label, binary

COMMENT = "#"  # a state; the other states are the quotes that would close a string, "" is code
_TRIPLES = ('"""', "'''")


def labels(text: str) -> list[Label]:
    """Labels of Python code, those of any text left out."""
    states = scan(text)
    string = np.array([state not in ("", COMMENT) for state in states], np.bool_)
    triple = np.array([state in _TRIPLES for state in states], np.bool_)
    comment = np.array([state == COMMENT for state in states], np.bool_)
    no_code = string | comment
    bracketed = common.brackets(text, no_code)
    return [
        binary("inside quotes", string),
        binary("inside triple quotes", triple),
        binary("inside a comment", comment),
        binary("inside a comment or quotes", no_code),
        *bracketed,
        binary("inside an if-condition", _conditions(text, no_code, bracketed[0].values)),
        common.indentation(text),
    ]


def scan(text: str) -> list[str]:
    """What each symbol stands in once it was read: a string's quotes, COMMENT, or "" for code.

    A string of one line ends with its line, unless a backslash stands before the newline.
    """
    states = []
    state = ""
    start = 0
    escaped = False
    for place, symbol in enumerate(text):
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


def _conditions(text: str, no_code: np.ndarray, bracketed: np.ndarray) -> bytearray:
    """From the space behind `if` or `elif` up to the colon that ends the condition.

    Outside brackets a newline ends it too: a condition within an expression has no colon.
    """
    inside = bytearray(len(text))
    is_on = False
    word = ""
    for place, symbol in enumerate(text):
        if not no_code[place]:
            if symbol.isalnum() or symbol == "_":
                # A word longer than "elif" is neither: no need to keep it.
                word = (word + symbol)[:5]
                if is_on and word == "else":
                    is_on = False
            else:
                is_on = is_on or word in ("if", "elif")
                word = ""
                if symbol in ":\n" and not bracketed[place]:
                    is_on = False
        inside[place] = is_on
    return inside
