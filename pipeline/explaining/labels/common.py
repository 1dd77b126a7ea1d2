"""What any text has: lines, words, digits, capitals, spaces, quotes, brackets."""

from __future__ import annotations

import numpy as np

from pipeline.explaining.labels.label import (
    DEEPEST,
    Label,
    binary,
    next_is,
    real,
    since,
)

_OPENERS = "([{"
_CLOSERS = ")]}"
# A quote that is never closed would put the rest of the text inside quotes.
LONGEST_QUOTE = 2000


def labels(text: str) -> list[Label]:
    """Labels of any text."""
    symbols = codes(text)
    newline = symbols == ord("\n")
    letter = flags(text, str.isalpha)
    before = np.append(False, letter)[:-1]
    space = symbols == ord(" ")
    return [
        real("position in line", since(newline)),
        binary("before a newline", next_is(newline)),
        binary("word start", letter & ~before),
        real("position in word", np.where(letter, since(~letter), 0)),
        binary("digit", flags(text, str.isdigit)),
        binary("upper case", flags(text, str.isupper)),
        real("time since a space", since(space)),
    ]


def indentation(text: str) -> Label:
    """The width of the white space that the current line began with; it grows while that is read.

    A tab counts to the next eighth.
    """
    widths = []
    width = 0
    at_start = True
    for symbol in text:
        if symbol == "\n":
            width = 0
            at_start = True
        elif at_start and symbol == " ":
            width += 1
        elif at_start and symbol == "\t":
            width += 8 - width % 8
        else:
            at_start = False
        widths.append(width)
    return real("indentation", widths)


def quotes(text: str, same: str = '"', pairs: str = "“”") -> Label:
    """Inside quotes of running text: `same` opens and closes, `pairs` are openers and closers.

    An empty line ends a quote, and so do LONGEST_QUOTE symbols.
    """
    inside = bytearray(len(text))
    opened = ""
    start = 0
    before = ""
    for place, symbol in enumerate(text):
        is_over = place - start > LONGEST_QUOTE or (symbol == "\n" and before == "\n")
        if opened:
            closer = opened if opened in same else pairs[pairs.index(opened) + 1]
            if symbol == closer or is_over:
                opened = ""
        elif symbol in same or symbol in pairs[::2]:
            opened = symbol
            start = place
        inside[place] = bool(opened)
        before = symbol
    return binary("inside quotes", inside)


def brackets(
    text: str, outside: np.ndarray | None = None, resets: np.ndarray | None = None
) -> list[Label]:
    """Inside brackets, and how deep. `outside` (N,) says where a bracket is no bracket, such as in
    a comment; at `resets` (N,) none can be open.

    A closer closes what was opened behind its opener too; one without an opener is passed over.
    """
    depths = []
    opened: list[str] = []
    # As bytes: reading one element of an array takes longer than all else here.
    is_outside = _as_bytes(outside, len(text))
    is_reset = _as_bytes(resets, len(text))
    for place, symbol in enumerate(text):
        if is_reset[place]:
            opened.clear()
        if is_outside[place]:
            pass
        elif symbol in _OPENERS:
            if len(opened) < DEEPEST:
                opened.append(_CLOSERS[_OPENERS.index(symbol)])
        elif symbol in _CLOSERS and symbol in opened:
            while opened.pop() != symbol:
                pass
        depths.append(len(opened))
    return [
        binary("inside brackets", np.array(depths) > 0),
        real("bracket depth", depths),
    ]


def _as_bytes(marks: np.ndarray | None, size: int) -> bytes:
    return bytes(size) if marks is None else marks.astype(np.uint8).tobytes()


def codes(text: str) -> np.ndarray:
    """Code points (N,) of a text; lone surrogates as they are."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def flags(text: str, is_so: object) -> np.ndarray:
    """What a method of str says of each symbol (N,)."""
    assert callable(is_so)
    return np.fromiter(map(is_so, text), np.bool_, len(text))
