"""Declarations in all the forms that C has, and what a void function returns."""

from __future__ import annotations

import pytest

from pipeline.evaluation.structure.c_names import names_of, nodes_of, void_returns
from pipeline.evaluation.structure.c_syntax import c_parser

CODE = b"""int f(const char *text, int (*each)(int), struct a b[])
{
\tint one = 1, *two, three[4], (*four)(void);
\tstatic int five;
\tstruct point p = { .x = one };

\tcall(two, b->field, (int)three[0]);
\tgoto done;
done:
\treturn each(text[0]);
}
"""


def test_declarators_of_every_form_are_found() -> None:
    names = names_of(c_parser().parse(CODE).root_node, CODE)
    parameters = {b"text", b"each", b"b"}
    variables = {b"one", b"two", b"three", b"four", b"p"}
    assert set(names.local) == variables
    assert set(names.declared) == parameters | variables | {b"five"}
    assert all(CODE[at:].startswith(name) for name, at in names.declared.items())
    # Neither fields, types and labels nor what is called.
    assert {name for name, _ in names.used} == {b"one", b"two", b"b", b"three", b"text"}


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        (b"void f(void)", b"return;", [False]),
        (b"static void f(int a)", b"if (a) return a; return;", [True, False]),
        (b"void *f(void)", b"return 0;", []),
        (b"int f(void)", b"return 0;", []),
        (b"void f(void)", b"", []),
    ],
)
def test_only_void_functions_may_not_return_a_value(
    head: bytes, body: bytes, expected: list[bool]
) -> None:
    code = head + b"\n{\n" + body + b"\n}\n"
    returns = list(void_returns(c_parser().parse(code).root_node))
    assert [has_value for _, has_value in returns] == expected
    assert all(code[at:].startswith(b"return") for at, _ in returns)


def test_nodes_come_in_the_texts_order_however_deep() -> None:
    code = b"int a = " + b"(" * 3000 + b"1" + b")" * 3000 + b";\n"
    starts = [node.start_byte for node in nodes_of(c_parser().parse(code).root_node)]
    assert starts == sorted(starts)
    assert len(starts) > 9000
