"""Python's lines without a parser: as tokenize has them for real code, and for broken code."""

from __future__ import annotations

import ast
import inspect
import tokenize
from types import ModuleType

import pytest

from pipeline.evaluation.structure.python_lines import (
    definitions,
    indentation_faults,
    logical_lines,
    masked,
)


def faults(text: bytes) -> list[tuple[int, str]]:
    lines = list(logical_lines(masked(text)[0]))
    return [(line.start, kind) for line, kind in indentation_faults(lines)]


def functions(text: bytes) -> list[bytes]:
    lines = list(logical_lines(masked(text)[0]))
    return [text[each.start : each.end] for each in definitions(lines)]


@pytest.mark.parametrize("module", [ast, inspect, tokenize])
def test_real_code_has_no_fault_and_its_functions_are_the_parsers(module: ModuleType) -> None:
    text = inspect.getsource(module).encode() + b"\nlast = 1\n"
    code, unclosed, closed = masked(text)
    assert len(code) == len(text)
    assert (unclosed, closed > 50, faults(text)) == ([], True, [])
    outermost = []
    stack: list[ast.AST] = [ast.parse(text)]
    while stack:
        for node in ast.iter_child_nodes(stack.pop()):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                outermost.append(node.name)
            else:
                stack.append(node)
    names = [each.split(b"(")[0].split()[-1].decode() for each in functions(text)]
    assert sorted(names) == sorted(outermost)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a\n  b\n", [(2, "indented without a block")]),
        (b"if a:\nb\n", [(6, "an indented block should begin here")]),
        (b"if a:\n    b\n  c\n", [(12, "indentation of no block that is open")]),
        (b"if a:\n    b\nc\n", []),
        (b"f(a,\n        b)\nc = '''\n   d\n e'''\nf \\\n   g\n", []),
        (b"        a\n    b\nc\n", []),  # a sample begins anywhere
        (b"if a:\n\tb\n        c\n", []),
        (b"", []),
    ],
)
def test_indentation_that_python_refuses(text: bytes, expected: list[tuple[int, str]]) -> None:
    assert faults(text) == expected


def test_strings_that_are_not_closed() -> None:
    text = b'a = \'one\nb = "two"\n' + b'"""' + b"x\n" * 20_000 + b"c = 'cut"
    _, unclosed, closed = masked(text)
    assert closed == 1
    assert [(string.start, string.quote) for string in unclosed] == [(4, b"'"), (19, b'"""')]


def test_one_bracket_that_is_never_closed_does_not_swallow_the_text() -> None:
    text = b"def f(:\n    x = (1\n    y\n\ndef g():\n    return 1\n\nz\n"
    assert functions(text)[-1] == b"def g():\n    return 1"


def test_the_function_that_the_end_cuts_is_left_out() -> None:
    assert functions(b"class A:\n    def f(self):\n        a\n\n    def g(self):\n        b") == [
        b"    def f(self):\n        a"
    ]
