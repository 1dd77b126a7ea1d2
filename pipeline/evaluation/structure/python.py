"""Python: what its own parser takes, by file and function; names that are defined; indentation."""

from __future__ import annotations

import ast
import re
import symtable
import warnings
from dataclasses import dataclass, field

from pipeline.evaluation.structure.findings import EXCERPT, Found, Tally, Texts, finished, joined
from pipeline.evaluation.structure.nesting import Balance, bracket_events
from pipeline.evaluation.structure.python_lines import (
    Definition,
    Line,
    definitions,
    indentation_faults,
    logical_lines,
    masked,
)
from pipeline.evaluation.structure.python_names import ANYTHING, read_before_set, undefined_names

# What a hostile text makes of the parser: too deep, NULs, numbers too long.
_REFUSALS = (SyntaxError, ValueError, MemoryError, RecursionError)
_DEFINES = re.compile(rb"(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)")
_IMPORTS = re.compile(rb"(?:from\b[^\n]*?\b)?import\b([\s\S]*)")
_WORD = re.compile(rb"[^\W\d]\w*")
_ASSIGNS = re.compile(rb"([\w\s,.*()\[\]]+?)(?::[^=\n]*)?=(?!=)")
_FOR_OR_WITH = re.compile(rb"(?:for|with|except|global)\b([^\n]*)")
FUNCTION_SIZE = 1 << 16  # bytes
MOST_FUNCTIONS = 5_000  # of all files; each takes 0.4 ms, so that 2 MB of tiny ones took 50 s
FILE_SIZE = 1 << 19  # bytes; ast makes about 200 MB of so much hostile text


@dataclass
class _Tallies:
    """In the report's order."""

    files: Tally = field(default_factory=lambda: Tally("files that parse"))
    functions: Tally = field(default_factory=lambda: Tally("functions that parse"))
    defined: Tally = field(
        default_factory=lambda: Tally("names of functions that are defined somewhere")
    )
    ordered: Tally = field(
        default_factory=lambda: Tally("local names that are set before they are read")
    )
    indented: Tally = field(default_factory=lambda: Tally("lines whose indentation fits"))
    strings: Tally = field(default_factory=lambda: Tally("strings that are closed"))
    skipped: int = 0  # files and functions that are too long to parse


def learn(reference: bytes) -> None:
    """Nothing of Python is measured against the corpus."""
    del reference


def look(texts: Texts, known: None) -> Found:
    del known
    tallies = _Tallies()
    brackets = Balance("brackets", wrong_closes=False, by_distance=True)
    for file, text in texts.items():
        code, unclosed, closed = masked(text)
        tallies.strings.holds(closed)
        for string in unclosed:
            shown = text[string.start : string.start + EXCERPT]
            tallies.strings.fails(file, string.start, "string is not closed", shown)
        brackets.add(file, text, bracket_events(code))
        lines = list(logical_lines(code))
        _count_indentation(file, text, lines, tallies.indented)
        _count_file(file, text, lines, tallies)
        names = file_names(lines)
        for definition in definitions(lines):
            _count_function(file, text, definition, names, tallies)
    order = [each for each in vars(tallies).values() if isinstance(each, Tally)]
    note = f"{tallies.skipped} files or functions were too long or too many to parse."
    notes = (note,) if tallies.skipped else ()
    return joined([Found(checks=finished(order), notes=notes), brackets.found()])


def file_names(lines: list[Line]) -> frozenset[str]:
    """Names that a file defines outside of its functions, as far as lines show.

    ANYTHING among them says that another module's names are there too, whatever they are.
    """
    names: set[bytes] = set()
    blocks: list[tuple[int, bool]] = []  # indentation, and whether it is inside of a def or class
    for line in lines:
        code = line.code.strip()
        while blocks and blocks[-1][0] >= line.indent:
            blocks.pop()
        is_inside = bool(blocks) and blocks[-1][1]
        if code.endswith(b":"):
            blocks.append((line.indent, is_inside or bool(_DEFINES.match(code))))
        if match := _IMPORTS.match(code):
            names.update(_WORD.findall(match.group(1)))
            if b"*" in match.group(1):
                names.add(ANYTHING.encode())
        elif not is_inside or code.startswith(b"global"):
            for pattern in (_DEFINES, _ASSIGNS, _FOR_OR_WITH):
                if match := pattern.match(code):
                    names.update(_WORD.findall(match.group(1)))
    return frozenset(name.decode("utf-8", "replace") for name in names)


def parse_fault(source: bytes) -> tuple[str, int] | None:
    """Why Python's parser refuses a text, and the line; None when it takes it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes such as "\d"
            ast.parse(source.decode("utf-8", "replace"))
    except _REFUSALS as error:
        line = getattr(error, "lineno", None) or 1
        message = getattr(error, "msg", "") or "the parser gives up"
        return f"{type(error).__name__}: {message}"[:200], line
    return None


def _count_indentation(file: str, text: bytes, lines: list[Line], tally: Tally) -> None:
    faults = 0
    for line, kind in indentation_faults(lines):
        faults += 1
        tally.fails(file, line.start, kind, text[line.start : line.start + EXCERPT])
    tally.holds(len(lines) - faults)


def _count_file(file: str, text: bytes, lines: list[Line], to: _Tallies) -> None:
    """A file without the last statement at its margin, which the sample's end may cut."""
    margins = [line.start for line in lines if line.indent == 0]
    source = text[: margins[-1]] if len(margins) > 1 else text
    if len(source) > FILE_SIZE:
        to.skipped += 1
        return
    fault = parse_fault(source)
    if fault is None:
        to.files.holds()
        return
    kind, number = fault
    at = _line_offset(source, number)
    to.files.fails(file, at, kind, source[at : at + EXCERPT])


def _count_function(
    file: str, text: bytes, definition: Definition, names: frozenset[str], to: _Tallies
) -> None:
    body = text[definition.start : definition.end]
    if len(body) > FUNCTION_SIZE or to.functions.out_of == MOST_FUNCTIONS:
        to.skipped += 1
        return
    # A method stands deeper than the margin: it is parsed inside of a block.
    prefix = b"if 1:\n" if definition.indent else b""
    source = prefix + body + b"\n"
    fault = parse_fault(source)
    if fault is not None:
        kind, number = fault
        at = max(0, _line_offset(source, number) - len(prefix))
        to.functions.fails(file, definition.start + at, kind, body[at : at + EXCERPT])
        return
    to.functions.holds()
    _count_names(file, definition.start - len(prefix), source, names, to)


def _count_names(file: str, start: int, source: bytes, names: frozenset[str], to: _Tallies) -> None:
    """`start` is where `source` begins in the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = source.decode("utf-8", "replace")
            tree = ast.parse(code)
            table = symtable.symtable(code, "sample", "exec")
    except _REFUSALS:
        return  # a `return` in the wrong place, for instance: it parses, and has no scopes
    undefined, total = undefined_names(table, names)
    to.defined.holds(total - len(undefined))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in undefined:
            undefined.discard(node.id)
            at = start + _line_offset(source, node.lineno) + node.col_offset
            to.defined.fails(file, at, "name is not defined", node.id.encode())
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for name, line, column, is_early in read_before_set(node):
                at = start + _line_offset(source, line) + column
                if is_early:
                    to.ordered.fails(file, at, "name is read before it is set", name.encode())
                else:
                    to.ordered.holds()


def _line_offset(source: bytes, number: int) -> int:
    """Where a line begins; lines count from 1."""
    at = 0
    for _ in range(number - 1):
        newline = source.find(b"\n", at)
        if newline < 0:
            break
        at = newline + 1
    return at
