"""Python with planted faults, and text that breaks parsers."""

from __future__ import annotations

import inspect

import pytest

from pipeline.evaluation.structure import python
from pipeline.evaluation.structure.findings import Check
from pipeline.evaluation.structure.python import look, parse_fault

GOOD = b'''import os
from a import (b,
    c as d)
LIMIT: int = 3


class A:
    """A class."""

    def f(self, x, *rest):
        y = x + LIMIT + b(d)
        for z in rest:
            y += len(os.path.join(z))
        return [q for q in y]


def g():
    return A().f(1)


print(g())
'''


def checks(text: bytes) -> dict[str, Check]:
    return {check.name: check for check in look({"a.py": text}, None).checks}


def places(check: Check) -> list[tuple[int, str]]:
    return [(finding.offset, finding.kind) for finding in check.findings]


def test_good_python_has_no_fault() -> None:
    found = checks(GOOD)
    assert not [name for name, check in found.items() if check.count < check.out_of]
    assert (found["files that parse"].count, found["functions that parse"].count) == (1, 2)
    assert found["local names that are set before they are read"].count == 2
    assert found["names of functions that are defined somewhere"].count > 8


def test_a_module_of_pythons_own_has_hardly_a_fault() -> None:
    found = checks(inspect.getsource(inspect).encode() + b"\nlast = 1\n")
    assert found["files that parse"].count == 1
    functions = found["functions that parse"]
    assert functions.count == functions.out_of > 100
    names = found["names of functions that are defined somewhere"]
    assert names.out_of > 1000
    # inspect writes these into its own globals(), where no line shows them.
    assert {finding.text[:3] for finding in names.findings} == {"CO_"}
    assert len(names.findings) == names.out_of - names.count


def test_a_name_that_a_block_of_the_file_defines_is_defined() -> None:
    text = b"if a:\n    def g():\n        b = 1\n        return b\n\n"
    text += b"def f():\n    return g() + b\n\nz = 1\n"
    check = checks(text)["names of functions that are defined somewhere"]
    assert places(check) == [(text.rindex(b"b"), "name is not defined")]


def test_behind_a_star_any_name_may_be_defined() -> None:
    text = b"from a import *\n\ndef f():\n    return whatever\n\nlast = 1\n"
    assert checks(text)["names of functions that are defined somewhere"].out_of == 0


def test_a_function_that_does_not_parse_has_its_place() -> None:
    text = GOOD.replace(b"return A().f(1)", b"return A().f(1")
    found = checks(text)
    functions = found["functions that parse"]
    assert (functions.count, functions.out_of) == (1, 2)
    place, kind = places(functions)[0]
    assert kind.startswith("SyntaxError: '(' was never closed")
    assert text.index(b"    return A()") == place
    assert found["files that parse"].count == 0


def test_a_name_that_nobody_defines_has_its_place() -> None:
    text = GOOD.replace(b"os.path", b"so.path")
    check = checks(text)["names of functions that are defined somewhere"]
    assert places(check) == [(text.index(b"so.path"), "name is not defined")]


@pytest.mark.parametrize("line", [b"y = y + LIMIT + b(d)", b"y += 1", b"print(y); y = 2"])
def test_a_local_name_that_is_read_before_it_is_set_has_its_place(line: bytes) -> None:
    text = GOOD.replace(b"y = x + LIMIT + b(d)", line)
    check = checks(text)["local names that are set before they are read"]
    at = text.index(line) + (line.index(b"y", 1) if line != b"y += 1" else 0)
    assert places(check) == [(at, "name is read before it is set")]


def test_an_indentation_error_and_an_open_string_have_their_places() -> None:
    text = GOOD.replace(b"        for z", b"          for z").replace(b"f(1)", b"f('1)")
    found = checks(text)
    indented = places(found["lines whose indentation fits"])
    assert indented[0] == (text.index(b"          for z"), "indented without a block")
    strings = places(found["strings that are closed"])
    assert strings == [(text.index(b"'1)"), "string is not closed")]


@pytest.mark.parametrize(
    "source",
    [
        "(" * 5000,
        "-" * 100_000 + "1",
        "1" + "+1" * 100_000,
        "a" + ".b" * 50_000,
        "\0",
        "lambda:" * 20_000 + "1",
        "9" * 5000,
        'f"{' * 500,
        "# coding: nosuch\n(",
    ],
)
def test_what_breaks_the_parser_is_a_fault_and_no_crash(source: str) -> None:
    fault = parse_fault(source.encode())
    assert fault is not None
    text = f"def f():\n    x = {source}\n\nz = 1\n".encode()
    assert checks(text)["functions that parse"].count == 0


def test_what_is_too_long_or_too_many_to_parse_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python, "MOST_FUNCTIONS", 1)
    monkeypatch.setattr(python, "FILE_SIZE", 10)
    found = look({"a.py": GOOD}, None)
    assert found.notes == ("2 files or functions were too long or too many to parse.",)
