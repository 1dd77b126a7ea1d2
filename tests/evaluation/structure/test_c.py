"""Comments, strings, brackets and the licence, with planted faults and their places."""

from __future__ import annotations

import pytest

from pipeline.evaluation.structure.c import begins_with_licence, code_of, look, read_tokens
from pipeline.evaluation.structure.findings import Check

GOOD = b"""/*
 * This program is free software; you can redistribute it under the terms of the GNU General
 * Public License.
 */
#error don't
static int add(int a, int b)
{
\tchar *s = "a \\" ) string"; // ( a comment
\tchar c = '{';
\tputs(s, c);
\treturn a + b;
}
"""


def checks(text: bytes) -> dict[str, Check]:
    return {check.name: check for check in look({"a.c": text}, None).checks}


def places(check: Check) -> list[tuple[int, str]]:
    return [(finding.offset, finding.kind) for finding in check.findings]


def test_good_c_has_no_fault() -> None:
    found = checks(GOOD)
    assert not [name for name, check in found.items() if check.count < check.out_of]
    assert found["comments that are closed"].count == 2
    assert found["strings that are closed on their line"].count == 1
    assert found["brackets: closers that close what is open"].count == 3
    assert found["samples that begin with the GNU licence"].count == 1


def test_a_comment_that_runs_into_the_next_is_found() -> None:
    text = b"int a; /* one\nint b;\n/* two */\n"
    check = checks(text)["comments that are closed"]
    assert (check.count, check.out_of) == (1, 2)
    assert places(check) == [(text.index(b"/* one"), "comment is not closed")]
    kinds = [(token.start, token.is_closed) for token in read_tokens(text)]
    assert kinds == [(7, False), (text.index(b"/* two"), True)]


def test_a_string_that_its_line_does_not_close_is_found() -> None:
    text = b'puts("one);\nputs("two");\n'
    check = checks(text)["strings that are closed on their line"]
    assert (check.count, check.out_of, places(check)) == (1, 2, [(5, "string is not closed")])


@pytest.mark.parametrize("text", [b"int a; /* cut", b'puts("cut', b"f(a, (b", b"f('"])
def test_what_the_end_cuts_is_no_fault(text: bytes) -> None:
    found = checks(text)
    lexical = [check for name, check in found.items() if "comment" in name or "string" in name]
    assert [check.out_of for check in lexical] == [0, 0]
    assert found["brackets: closers that close what is open"].out_of == 0


def test_a_bracket_of_another_kind_is_found() -> None:
    text = b"f(a[1);\ng(b});\n"
    found = checks(text)
    openers = found["brackets: openers that are closed"]
    assert places(openers) == [(3, "[ is not closed")]
    closers = found["brackets: closers that close what is open"]
    assert places(closers) == [(text.index(b"}"), "closes ( of byte 9")]


def test_blanking_keeps_offsets_and_lines() -> None:
    code = code_of(GOOD, list(read_tokens(GOOD)))
    assert len(code) == len(GOOD)
    assert [at for at, byte in enumerate(code) if byte == 10] == [
        at for at, byte in enumerate(GOOD) if byte == 10
    ]
    assert b"GNU" not in code
    assert b"string" not in code
    assert b"{'" not in code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"\n// SPDX-License-Identifier: GPL-2.0-only\n", True),
        (b"/* GNU Lesser General Public License */", True),
        (b"/* under the GNU\n * General Public License */", True),
        (b"int a; /* GNU General Public License */", False),
        (b"/*" + b" " * 2000 + b"GNU General */", False),
        (b"/* MIT */", False),
    ],
)
def test_the_licence_stands_in_a_first_comment(text: bytes, expected: bool) -> None:
    assert begins_with_licence(text) is expected
