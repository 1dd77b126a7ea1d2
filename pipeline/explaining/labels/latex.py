"""LaTeX: mathematics, environments and how deep, commands, comments, braces."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.explaining.labels import common
from pipeline.explaining.labels.label import DEEPEST, Label, binary, real

_MATHS = {"equation", "align", "eqnarray", "gather", "multline", "displaymath", "math", "split"}
_LONGEST_NAME = 40  # of an environment; what is longer is no name
# Mathematics that is never closed would make mathematics of the text behind it.
LONGEST_INLINE = 3000


def labels(text: str) -> list[Label]:
    """Labels of LaTeX, those of any text left out."""
    scanned = scan(text)
    comment = np.frombuffer(scanned.comment, np.uint8) > 0
    return [
        binary("inside $ $", scanned.dollars),
        binary("inside mathematics", scanned.mathematics),
        binary("inside an environment", np.array(scanned.depths) > 0),
        real("environment depth", scanned.depths),
        binary("inside a command's name", scanned.command),
        binary("inside a comment", comment),
        *common.brackets(text, comment),
        common.quotes(text, same="", pairs="“”"),
    ]


@dataclass
class Scanned:
    """Where each symbol stands, once it was read."""

    dollars: bytearray
    mathematics: bytearray
    command: bytearray
    comment: bytearray
    depths: list[int] = field(default_factory=list)


def scan(text: str) -> Scanned:
    """One pass over a text. An empty line ends mathematics, as it does in TeX."""
    size = len(text)
    found = Scanned(bytearray(size), bytearray(size), bytearray(size), bytearray(size))
    reader = _Reader(text)
    for place, symbol in enumerate(text):
        reader.read(place, symbol)
        found.dollars[place] = reader.dollars > 0
        in_maths = reader.dollars or reader.bracketed or any(reader.are_maths)
        found.mathematics[place] = bool(in_maths)
        found.command[place] = reader.in_command
        found.comment[place] = reader.in_comment
        found.depths.append(len(reader.are_maths))
    return found


class _Reader:
    """TeX's state, as far as labels need it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.dollars = 0  # how many opened the mathematics that is open: 0, 1 or 2
        self.bracketed = False  # \[ or \(
        self.are_maths: list[bool] = []  # of the environments that are open
        self.in_command = False
        self.in_comment = False
        self._started = 0
        self._escape = False  # the symbol before was a backslash that nothing escaped
        self._before = ""

    def read(self, place: int, symbol: str) -> None:
        """One symbol more."""
        if self.in_comment:
            self.in_comment = symbol != "\n"
        elif self._escape:
            self._escape = False
            self.in_command = symbol.isalpha()
            self._control(symbol)
        elif symbol == "\\":
            self._escape = True
            self.in_command = True
        else:
            self.in_command = self.in_command and symbol.isalpha()
            self._plain(place, symbol)
        is_over = place - self._started > LONGEST_INLINE or symbol == self._before == "\n"
        if is_over:
            self.dollars = 0
            self.bracketed = False
        self._before = symbol

    def _control(self, symbol: str) -> None:
        if symbol in "[(":
            self.bracketed = True
        elif symbol in "])":
            self.bracketed = False

    def _plain(self, place: int, symbol: str) -> None:
        if symbol == "%":
            self.in_comment = True
        elif symbol == "$":
            self._dollar(place)
        elif symbol == "}":
            self._environment(place)

    def _dollar(self, place: int) -> None:
        is_second = self._before == "$"
        if self.dollars == 0:
            # "$$" that closed a display is not the start of another one.
            self.dollars = 1
            self._started = place
        elif self.dollars == 1:
            # The second of two at once: a display opens.
            self.dollars = 2 if is_second and self._started == place - 1 else 0
        elif is_second and self._started != place - 2:
            self.dollars = 0
        if self.dollars == 0:
            self._before = ""

    def _environment(self, place: int) -> None:
        r"""A closing brace: does it end \begin{name} or \end{name}?"""
        low = max(0, place - _LONGEST_NAME)
        opening = self.text.rfind("{", low, place)
        if opening < 0:
            return
        name = self.text[opening + 1 : place].rstrip("*")
        if self.text.endswith("\\begin", 0, opening):
            # Too deep a text keeps its depth; so its ends are passed over sooner than they should.
            if len(self.are_maths) < DEEPEST:
                self.are_maths.append(name in _MATHS)
        elif self.text.endswith("\\end", 0, opening) and self.are_maths:
            self.are_maths.pop()
