"""C: strings, comments, brackets, if-conditions, preprocessor lines."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.explaining.labels import common
from pipeline.explaining.labels.label import DEEPEST, Label, binary, real

State = Literal["code", "string", "character", "line comment", "block comment"]
_QUOTES: dict[str, State] = {'"': "string", "'": "character"}


def labels(text: str) -> list[Label]:
    """Labels of C code, those of any text left out."""
    states = scan(text)
    string = np.array([state in ("string", "character") for state in states], np.bool_)
    comment = np.array([state.endswith("comment") for state in states], np.bool_)
    # The symbol that closes is code again by its own value, and yet no bracket: none is a quote.
    no_code = string | comment
    return [
        binary("inside quotes", string),
        binary("inside a comment", comment),
        binary("inside a comment or quotes", no_code),
        *common.brackets(text, no_code, _function_ends(text)),
        real("brace depth", _brace_depths(text, no_code)),
        binary("inside an if-condition", _conditions(text, no_code)),
        binary("preprocessor line", _preprocessor(text, no_code)),
        common.indentation(text),
    ]


def scan(text: str) -> list[State]:
    """Where each symbol stands, once it was read.

    A string ends with its line, unless a backslash stands before the newline.
    """
    states: list[State] = []
    state: State = "code"
    before = ""  # the symbol before, "" where it has been used up
    for symbol in text:
        used_up = False
        if state == "code":
            if symbol in _QUOTES:
                state = _QUOTES[symbol]
            elif before == "/" and symbol in "/*":
                state = "line comment" if symbol == "/" else "block comment"
                used_up = True  # "/*/" does not close
        elif state == "block comment":
            if before == "*" and symbol == "/":
                state = "code"
                used_up = True
        elif before == "\\":
            used_up = True  # escaped: it closes nothing, and a second backslash escapes nothing
        elif symbol == "\n" or _QUOTES.get(symbol) == state:
            state = "code"
        states.append(state)
        before = "" if used_up else symbol
    return states


def _function_ends(text: str) -> np.ndarray:
    """Closing braces in a first column (N,): they end a function, whatever was left open in it."""
    symbols = common.codes(text)
    behind_newline = np.append(True, symbols == ord("\n"))[:-1]
    return behind_newline & (symbols == ord("}"))


def _brace_depths(text: str, no_code: np.ndarray) -> list[int]:
    depths = []
    depth = 0
    ends = _function_ends(text)
    is_no_code = no_code.tobytes()
    for place, symbol in enumerate(text):
        if not is_no_code[place]:
            if symbol == "{":
                depth = min(DEEPEST, depth + 1)
            elif symbol == "}":
                depth = 0 if ends[place] else max(0, depth - 1)
        depths.append(depth)
    return depths


def _conditions(text: str, no_code: np.ndarray) -> bytearray:
    """Inside the brackets behind `if`: from the opening bracket up to its closing one."""
    inside = bytearray(len(text))
    depth = 0
    is_no_code = no_code.tobytes()
    word = ""
    after_if = False
    for place, symbol in enumerate(text):
        if is_no_code[place]:
            inside[place] = depth > 0
            continue
        if symbol.isalnum() or symbol == "_":
            # A word longer than "if" is not "if": no need to keep it.
            word = (word + symbol)[:3]
            after_if = False
        else:
            after_if = after_if or word == "if"
            word = ""
            if symbol == "(" and (depth or after_if):
                depth += 1
            elif symbol == ")" and depth:
                depth -= 1
            elif symbol in "{};":
                depth = 0  # no condition of C holds these: a bracket was left open
            after_if = after_if and symbol.isspace()
        inside[place] = depth > 0
    return inside


def _preprocessor(text: str, no_code: np.ndarray) -> bytearray:
    """Lines that begin with #, and those that they go on in."""
    inside = bytearray(len(text))
    is_on = False
    at_start = True
    before = ""
    for place, symbol in enumerate(text):
        if symbol == "\n":
            is_on = is_on and before == "\\"
            at_start = not is_on
        elif at_start and symbol == "#" and not no_code[place]:
            is_on = True
            at_start = False
        elif not symbol.isspace():
            at_start = False
        inside[place] = is_on
        before = symbol
    return inside
