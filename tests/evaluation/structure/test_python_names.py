"""Scopes as Python has them: what a function reads, and when."""

from __future__ import annotations

import ast
import symtable

import pytest

from pipeline.evaluation.structure.python_names import ANYTHING, read_before_set, undefined_names

CODE = """
def f(a, *b, c=d):
    global e
    import os.path as path, sys
    def inner():
        return a, later, g
    later = [each for each in b]
    with open(a) as file, h:
        e = file
    try:
        pass
    except OSError as error:
        print(error, path, sys, inner, __class__)
    return later
"""


def test_names_that_nobody_defines_are_those_of_no_scope() -> None:
    table = symtable.symtable(CODE, "x", "exec")
    undefined, read = undefined_names(table, frozenset({"h"}))
    # `d` is read where the function is defined, outside of it.
    assert undefined == {"g"}
    assert read > 10
    assert undefined_names(table, frozenset({ANYTHING})) == (set(), 0)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x = 1; y = x", {"x": False}),
        ("y = x; x = 1", {"x": True}),
        ("x = x + 1", {"x": True}),
        ("x: int = x", {"x": True}),
        ("for x in x: pass", {"x": True}),
        ("for x in a: y = x", {"x": False}),
        ("x += 1", {"x": True}),
        ("x = 1; x += 1", {"x": False}),
        ("a = a + 1", {}),  # a parameter
        ("import x; x = x", {}),
        ("global x; x = x", {}),
        ("def x(): pass\n    x = x", {}),
        ("g = lambda: x; x = 1", {}),
        ("y = [x for z in a]; x = 1", {}),
        ("return (x := 1) + x", {}),
    ],
)
def test_a_name_is_read_too_early_or_in_time(body: str, expected: dict[str, bool]) -> None:
    function = ast.parse(f"def f(a):\n    {body}").body[0]
    found = {name: is_early for name, _, _, is_early in read_before_set(function)}
    assert found == expected


def test_the_place_is_that_of_the_first_reading() -> None:
    function = ast.parse("def f():\n    y = (1 +\n      x) + x\n    x = 1").body[0]
    assert list(read_before_set(function)) == [("x", 3, 6, True)]
