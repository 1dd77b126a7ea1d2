"""Python: what its own parser takes, by file and function; names that are defined; indentation."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterator
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

# What a hostile text makes of the parser: too deep, NULs, numbers too long.
_REFUSALS = (SyntaxError, ValueError, MemoryError, RecursionError)
_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__class__", "__module__", "__qualname__"}
ANYTHING = b"*"
_DEFINES = re.compile(rb"(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)")
_IMPORTS = re.compile(rb"(?:from\b[^\n]*?\b)?import\b([\s\S]*)")
_WORD = re.compile(rb"[^\W\d]\w*")
_ASSIGNS = re.compile(rb"([\w\s,.*()\[\]]+?)(?::[^=\n]*)?=(?!=)")
_FOR_OR_WITH = re.compile(rb"(?:for|with|except|global)\b([^\n]*)")
_NAMED = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.ExceptHandler,
    ast.MatchAs,
    ast.MatchStar,
)
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
    for line in lines:
        code = line.code.strip()
        if match := _IMPORTS.match(code):
            names.update(_WORD.findall(match.group(1)))
            if b"*" in match.group(1):
                names.add(ANYTHING)
        elif line.indent == 0 or b"global" in code[:6]:
            for pattern in (_DEFINES, _ASSIGNS, _FOR_OR_WITH):
                if match := pattern.match(code):
                    names.update(_WORD.findall(match.group(1)))
    return frozenset(name.decode("utf-8", "replace") for name in names)


def undefined_names(tree: symtable.SymbolTable, known: frozenset[str]) -> tuple[set[str], int]:
    """Names that a function reads and nobody defines, and how many names it reads in all."""
    if ANYTHING.decode() in known:
        return set(), 0  # which names there are cannot be seen here
    undefined: set[str] = set()
    read: set[str] = set()
    stack = [tree]
    while stack:
        scope = stack.pop()
        stack.extend(scope.get_children())
        if scope is tree:
            continue  # the module that holds nothing but the function
        for symbol in scope.get_symbols():
            if not symbol.is_referenced():
                continue
            name = symbol.get_name()
            read.add(name)
            if symbol.is_global() and name not in known and name not in _BUILTINS:
                undefined.add(name)
    own = set(tree.get_identifiers())
    return undefined - own, len(read)


def read_before_set(function: ast.AST) -> Iterator[tuple[str, int, int, bool]]:
    """A function's local names: name, line and column of the first time it is read, and whether
    it is read there before any line sets it.

    Only names that assignments, loops and `with` set, and only in the function's own scope: an
    inner one runs later.
    """
    stored: dict[str, tuple[int, int]] = {}
    loaded: dict[str, tuple[int, int]] = {}
    others: set[str] = set()
    ends: dict[int, tuple[int, int]] = {}  # where the statement ends that sets a name, by node
    for node in _own_nodes(function):
        others.update(_set_otherwise(node))
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            # `x = x + 1` reads before it sets: a name is set at its statement's end.
            end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            ends.update({id(each): end for target in targets for each in ast.walk(target)})
        if not isinstance(node, ast.Name):
            continue
        at = (node.lineno, node.col_offset)
        if isinstance(node.ctx, ast.Load):
            loaded[node.id] = min(at, loaded.get(node.id, at))
        else:
            at = ends.get(id(node), at)
            stored[node.id] = min(at, stored.get(node.id, at))
    for name, at in loaded.items():
        if name in stored and name not in others:
            yield name, *at, at < stored[name]


def _set_otherwise(node: ast.AST) -> Iterator[str]:
    """Names that a node sets without an assignment, or that are not local at all."""
    if isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, (ast.Global, ast.Nonlocal)):
        yield from node.names
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, _NAMED) and node.name:
        yield node.name
    elif isinstance(node, ast.NamedExpr):
        yield node.target.id  # `if (x := f()) and x`: order within a line says nothing


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


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    stack = list(ast.iter_child_nodes(function))
    scopes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    comprehensions = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (*scopes, *comprehensions)):
            stack.extend(ast.iter_child_nodes(node))


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
