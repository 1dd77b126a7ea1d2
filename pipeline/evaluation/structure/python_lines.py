"""Python without a parser: strings and comments, logical lines, their indentation, functions.

A sample is broken somewhere, and Python's own tokenizer stops at the first fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""#[^\n]*|\"\"\"|'''|"(?:\\[\s\S]|[^"\\\n])*+("?)|'(?:\\[\s\S]|[^'\\\n])*+('?)"""
)
# A docstring that is never closed would make strings of the code behind it, and code of strings.
LONGEST_STRING = 20_000
_BLOCK = re.compile(rb"(?:async[ \t]+)?(?:def|class)\b")
_FUNCTION = re.compile(rb"(?:async[ \t]+)?def[ \t]+(\w+)")
_CHANGES = bytes.maketrans(b"([{)]}", b"(((" + b")))")
_STRING_BYTE = b"\x01"  # stands for what is in a string, newlines too, so that no line begins there


@dataclass(frozen=True)
class Quoted:
    """A string that is not closed, and what should have closed it."""

    start: int
    quote: bytes


@dataclass(frozen=True)
class Line:
    """A logical line: several of the text's where brackets or a string go on.

    `code` has strings and comments blanked. `indent` is in columns, with a tab to the next
    eighth as Python counts it.
    """

    start: int
    end: int
    indent: int
    code: bytes


@dataclass(frozen=True)
class Definition:
    """A function's text, from `def` to the line that ends it."""

    start: int
    end: int
    indent: int


def masked(text: bytes) -> tuple[bytes, list[Quoted], int]:
    """The text with comments and strings blanked, unclosed strings, and the number of closed ones.

    Offsets stay. A string that the text's end cuts is neither closed nor unclosed.
    """
    parts = []
    unclosed = []
    closed = 0
    at = 0
    copied = 0
    while match := _TOKEN.search(text, at):
        start = match.start()
        first = match.group()
        at = match.end()
        blank = b" "
        if not first.startswith(b"#"):
            blank = _STRING_BYTE
            is_triple = first in (b'"""', b"'''")
            end = text.find(first, at, at + LONGEST_STRING) if is_triple else -1
            is_cut = at + LONGEST_STRING > len(text) if is_triple else at == len(text)
            if end >= 0:
                at = end + 3
                closed += 1
            elif not is_triple and (match.group(1) or match.group(2)):
                closed += 1
            elif is_cut:
                at = len(text)
            else:
                unclosed.append(Quoted(start, first[: 3 if is_triple else 1]))
        parts.append(text[copied:start])
        parts.append(blank * (at - start))
        copied = at
    return b"".join([*parts, text[copied:]]), unclosed, closed


def logical_lines(code: bytes) -> Iterator[Line]:
    """Lines of masked code that hold something.

    A `def` begins a line whatever is open before it, and so does what stands at the margin behind
    a block: one bracket that is never closed does not swallow a text.
    """
    depth = 0
    start = -1
    end = 0
    joins = False
    parts: list[bytes] = []
    at = 0
    for physical in code.split(b"\n"):
        line_start = at
        at += len(physical) + 1
        bare = physical.strip()
        if start >= 0 and (_BLOCK.match(bare) or _leaves_block(physical, parts)):
            yield _line(start, end, parts)
            start = -1
            depth = 0
        if not bare and not joins and depth == 0:
            continue
        if start < 0:
            start = line_start
            parts = []
        parts.append(physical)
        end = line_start + len(physical)
        brackets = physical.translate(_CHANGES)
        depth = max(0, depth + brackets.count(b"(") - brackets.count(b")"))
        joins = bare.endswith(b"\\")
        if depth == 0 and not joins:
            yield _line(start, end, parts)
            start = -1
    if start >= 0:
        yield _line(start, end, parts)


def _leaves_block(physical: bytes, parts: list[bytes]) -> bool:
    """Whether a line stands at the margin while brackets of a deeper one are open."""
    is_at_margin = physical[:1].isalpha() or physical[:1] in (b"_", b"@")
    return is_at_margin and parts[0][:1].isspace()


def indentation_faults(lines: list[Line]) -> Iterator[tuple[Line, str]]:
    """Lines whose indentation Python would refuse, and why."""
    levels = [lines[0].indent] if lines else []
    begins_block = False
    for line in lines:
        if begins_block and line.indent <= levels[-1]:
            yield line, "an indented block should begin here"
        elif not begins_block and line.indent > levels[-1]:
            yield line, "indented without a block"
        if line.indent > levels[-1]:
            levels.append(line.indent)
        while line.indent < levels[-1] and len(levels) > 1:
            levels.pop()
        if line.indent != levels[-1]:
            # The first line of a sample may stand deeper than the ones behind it.
            if len(levels) > 1 or line.indent > levels[0]:
                yield line, "indentation of no block that is open"
            levels = [*levels[:-1], line.indent] if len(levels) == 1 else [*levels, line.indent]
        begins_block = line.code.rstrip().endswith(b":")


def definitions(lines: list[Line]) -> Iterator[Definition]:
    """Functions and methods, those inside of another left out; none that the text's end cuts."""
    began: Line | None = None
    end = 0
    for line in lines:
        if began is not None and line.indent <= began.indent:
            yield Definition(began.start, end, began.indent)
            began = None
        if began is None and _FUNCTION.match(line.code.lstrip()):
            began = line
        end = line.end


def _line(start: int, end: int, parts: list[bytes]) -> Line:
    code = b"\n".join(parts)
    first = parts[0]
    margin = first[: len(first) - len(first.lstrip())]
    return Line(start, end, len(margin.expandtabs(8)), code)
