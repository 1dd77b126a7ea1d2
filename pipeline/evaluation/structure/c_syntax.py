"""C by tree-sitter, which reads on behind an error: what parses, which names are declared, what a
void function returns.

tree-sitter has no time limit, and its time grows faster than hostile text: 64 KB of "(" take
0.1 s, 256 KB 0.8 s. So no more than PIECE bytes are parsed at once, cut behind a function's end
where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluation.structure.c_names import names_of, void_returns
from pipeline.evaluation.structure.findings import EXCERPT, Found, Tally, Texts, finished

PIECE = 1 << 16
_HEAD_LINES = 12  # lines of a function's head: return type, name, parameters
_CUTS = (b"\n}\n", b"\n\n", b"\n")
_WORD = re.compile(rb"[A-Za-z_]\w*")
_GLOBAL_LINE = re.compile(rb"^[A-Za-z_#][^\n]*", re.MULTILINE)


@dataclass(frozen=True)
class Function:
    """A function's text, from its head to the brace that ends it, in a file's bytes."""

    start: int
    end: int
    is_closed: bool  # False where the next function's head comes first


@dataclass
class _Tallies:
    clean: Tally = field(default_factory=lambda: Tally("bytes outside of error nodes"))
    parsed: Tally = field(default_factory=lambda: Tally("functions that parse"))
    declared: Tally = field(
        default_factory=lambda: Tally("identifiers of functions that are declared")
    )
    used: Tally = field(default_factory=lambda: Tally("local variables that are used"))
    void: Tally = field(
        default_factory=lambda: Tally("returns of void functions that give no value")
    )


def look_at_syntax(texts: Texts, codes: Texts) -> Found:
    """`codes` are the texts with comments and strings blanked."""
    parser = c_parser()
    tallies = _Tallies()
    too_long = 0
    for file, text in texts.items():
        for start, end in pieces(text):
            _error_bytes(parser, file, text, start, end, tallies.clean)
        file_names = {
            word for line in _GLOBAL_LINE.findall(codes[file]) for word in _WORD.findall(line)
        }
        for function in functions(codes[file]):
            if function.end - function.start > PIECE:
                too_long += 1
                continue
            _function(parser, file, text, function, file_names, tallies)
    notes = (f"{too_long} functions are longer than {PIECE} bytes and were not parsed.",)
    order = [tallies.clean, tallies.parsed, tallies.declared, tallies.used, tallies.void]
    return Found(checks=finished(order), notes=notes if too_long else ())


def c_parser() -> Any:
    """A parser of C. InputError without the libraries of the extra."""
    try:
        import tree_sitter
        import tree_sitter_c
    except ImportError:
        raise InputError(
            "structure of C needs the extra evaluate: pip install 'unreasonable[evaluate]'."
        ) from None
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))


def pieces(text: bytes) -> Iterator[tuple[int, int]]:
    """Where a text is cut: behind a function where that can be, else an empty line, else a line."""
    start = 0
    while len(text) - start > PIECE:
        window = text[start : start + PIECE]
        found = [window.rfind(cut) + len(cut) for cut in _CUTS if cut in window]
        end = start + (found[0] if found else PIECE)
        yield start, end
        start = end
    yield start, len(text)


def functions(code: bytes) -> Iterator[Function]:
    """Functions as C code is laid out: `{` behind `)` of a head at the left margin, `}` at it.

    One that the text's end cuts is left out.
    """
    lines = code.split(b"\n")
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line) + 1)
    began = -1
    for number, line in enumerate(lines):
        if line.startswith(b"}") and began >= 0:
            yield Function(offsets[began], offsets[number] + 1, True)
            began = -1
        elif _begins_body(lines, number):
            head = _head(lines, number, began)
            if began >= 0:
                yield Function(offsets[began], offsets[head], False)
            began = head


def _begins_body(lines: list[bytes], number: int) -> bool:
    line = lines[number].rstrip()
    if line == b"{":
        return number > 0 and lines[number - 1].rstrip().endswith(b")")
    is_at_margin = line[:1].isalpha() or line[:1] == b"_"
    return is_at_margin and line.endswith(b"{") and line[:-1].rstrip().endswith(b")")


def _head(lines: list[bytes], number: int, began: int) -> int:
    """The first line of the head that ends at `number`."""
    lowest = max(0, number - _HEAD_LINES, began + 1)
    head = number
    while head > lowest:
        before = lines[head - 1].rstrip()
        if not before or before.startswith(b"#") or before.endswith((b";", b"}", b"{", b":")):
            break
        head -= 1
    return head


def _function(
    parser: Any, file: str, text: bytes, function: Function, file_names: set[bytes], to: _Tallies
) -> None:
    start = function.start
    source = text[start : function.end]
    if not function.is_closed:
        to.parsed.fails(file, start, "function is not closed before the next", source)
        return
    root = parser.parse(source).root_node
    if root.has_error:
        at = next(_errors(root)).start_byte
        shown = source[at : at + EXCERPT]
        to.parsed.fails(file, start + at, "syntax error in a function", shown)
        return
    to.parsed.holds()
    names = names_of(root, source)
    seen: set[bytes] = set()
    for name, at in names.used:
        if name in seen:
            continue
        seen.add(name)
        if names.declared.get(name, at) < at or _may_be_global(name, file_names):
            to.declared.holds()
        else:
            to.declared.fails(file, start + at, "identifier is not declared", name)
    for name, at in names.local.items():
        if name in seen:
            to.used.holds()
        else:
            to.used.fails(file, start + at, "variable is not used", name)
    for at, has_value in void_returns(root):
        if has_value:
            shown = source[at : at + EXCERPT]
            to.void.fails(file, start + at, "void function returns a value", shown)
        else:
            to.void.holds()


def _may_be_global(name: bytes, file_names: set[bytes]) -> bool:
    """Capitals are macros and constants of headers, which a function alone does not show."""
    return name.isupper() or name.startswith(b"__") or name in file_names


def _errors(root: Any) -> Iterator[Any]:
    """The outermost nodes of an error, and the places where something is missing."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node.is_error or node.is_missing:
            yield node
        elif node.has_error:
            stack.extend(reversed(node.children))


def _error_bytes(parser: Any, file: str, text: bytes, start: int, end: int, clean: Tally) -> None:
    piece = text[start:end]
    bad = 0
    for node in _errors(parser.parse(piece).root_node):
        bad += node.end_byte - node.start_byte
        shown = piece[node.start_byte : node.start_byte + EXCERPT]
        kind = "missing" if node.is_missing else "syntax error"
        clean.note(file, start + node.start_byte, kind, shown)
    clean.count += len(piece) - bad
    clean.out_of += len(piece)
