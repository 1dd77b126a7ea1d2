"""Functions by tree-sitter: planted faults, with their places."""

from __future__ import annotations

import sys

import pytest

from pipeline.errors import InputError
from pipeline.evaluation.structure import c_syntax
from pipeline.evaluation.structure.c_syntax import c_parser, functions, look_at_syntax, pieces
from pipeline.evaluation.structure.findings import Check

GOOD = b"""static int limit = 3;

static void note(struct list *items, int (*each)(int))
{
\tint count = 0;
\tstatic int unused_but_static;

\tfor (int i = 0; i < limit; i++)
\t\tcount += each(i) + items->size + MAX_SIZE;
\tif (!count)
\t\treturn;
\tprint(count);
}
"""


def checks(text: bytes) -> dict[str, Check]:
    return {check.name: check for check in look_at_syntax({"a.c": text}, {"a.c": text}).checks}


def places(check: Check) -> list[tuple[int, str, str]]:
    return [(finding.offset, finding.kind, finding.text) for finding in check.findings]


def test_a_good_function_has_no_fault() -> None:
    found = checks(GOOD)
    figures = {name: (check.count, check.out_of) for name, check in found.items()}
    assert figures == {
        "bytes outside of error nodes": (len(GOOD), len(GOOD)),
        "functions that parse": (1, 1),
        "identifiers of functions that are declared": (5, 5),
        "local variables that are used": (2, 2),
        "returns of void functions that give no value": (1, 1),
    }


def test_names_that_nobody_declares_or_uses_are_found() -> None:
    text = GOOD.replace(b"\tint count", b"\tint spare;\n\tint count").replace(b"!count", b"!cuont")
    found = checks(text)
    undeclared = places(found["identifiers of functions that are declared"])
    assert undeclared == [(text.index(b"cuont"), "identifier is not declared", "cuont")]
    unused = places(found["local variables that are used"])
    assert unused == [(text.index(b"spare"), "variable is not used", "spare")]


def test_a_name_that_is_declared_only_later_is_not_declared() -> None:
    text = b"int f(void)\n{\n\ta = 1;\n\tint a;\n\treturn a;\n}\n"
    undeclared = places(checks(text)["identifiers of functions that are declared"])
    assert [place[0] for place in undeclared] == [text.index(b"a = 1")]


def test_a_void_function_that_returns_a_value_is_found() -> None:
    text = GOOD.replace(b"return;", b"return 1;")
    check = checks(text)["returns of void functions that give no value"]
    assert (check.count, check.out_of) == (0, 1)
    assert check.findings[0].offset == text.index(b"return 1")
    pointer = b"void *f(void)\n{\n\treturn 0;\n}\n"
    assert checks(pointer)["returns of void functions that give no value"].out_of == 0


def test_a_syntax_error_has_its_place_in_the_file() -> None:
    text = GOOD + b"\nint broken(void)\n{\n\treturn = ;\n}\n"
    found = checks(text)
    parsed = found["functions that parse"]
    assert (parsed.count, parsed.out_of) == (1, 2)
    assert text[parsed.findings[0].offset :].startswith(b"= ;")
    clean = found["bytes outside of error nodes"]
    assert clean.count < clean.out_of == len(text)
    assert text.index(b"int broken") <= clean.findings[0].offset


def test_functions_are_those_that_begin_and_end() -> None:
    text = GOOD + b"int open(int a)\n{\n\tint b;\n\nint next(void) {\n}\n\nint cut(void)\n{\n\tint"
    found = [
        (text[each.start : each.end].split(b"(")[0], each.is_closed) for each in functions(text)
    ]
    assert found == [(b"static void note", True), (b"int open", False), (b"int next", True)]
    check = checks(text)["functions that parse"]
    assert places(check)[0][:2] == (
        text.index(b"int open"),
        "function is not closed before the next",
    )


def test_a_struct_is_no_function() -> None:
    assert not list(functions(b"struct a\n{\n\tint b;\n};\n\nint c[] = {\n\t1,\n};\n"))


def test_long_text_is_cut_behind_functions() -> None:
    text = GOOD * 600
    cuts = list(pieces(text))
    assert b"".join(text[start:end] for start, end in cuts) == text
    assert len(cuts) > 2
    assert all(text[:end].endswith(b"\n}\n") for _, end in cuts)
    assert checks(text)["bytes outside of error nodes"].count == len(text)


def test_what_is_too_long_to_parse_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_syntax, "PIECE", 100)
    found = look_at_syntax({"a.c": GOOD}, {"a.c": GOOD})
    assert found.notes == ("1 functions are longer than 100 bytes and were not parsed.",)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tree_sitter_c", None)
    with pytest.raises(InputError, match=r"pip install 'unreasonable\[evaluate\]'"):
        c_parser()
