"""Every kind has its checks; hostile text ends, and what is left out is said."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import InputError
from pipeline.evaluation.structure import check as module
from pipeline.evaluation.structure.check import bounded_texts, check
from pipeline.recipes import KINDS

# 20,000 bytes each: what took minutes before sizes were bounded shows as a test that hangs.
SIZE = 20_000
HOSTILE = {
    name: (unit * SIZE)[:SIZE]
    for name, unit in {
        "brackets": b"(",
        "braces": b"{\n",
        "tags": b"<a>",
        "open tag": b"<a ",
        "environments": b"\\begin{a}",
        "NULs": b"\0",
        "no UTF-8": b"\xff",
        "backslashes": b"\\",
        "quotes": b"\"'",
        "triple": b"'''\"\"\"x",
        "comments": b"/*",
        "empty lines": b"\n",
        "spaces": b"\n" + b" " * 200,
        "dollars": b"$",
        "functions": b"int f(a)\n{\n",
        "definitions": b"def f(\n",
        "links": b"[[",
        "URLs": b"http://a.",
        "speakers": b"\n\nA:\n",
        "words": b"a'-",
    }.items()
}
HOSTILE["deep"] = b"".join(b" " * depth + b"if 1:\n" for depth in range(190))
HOSTILE["empty"] = b""


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_text_ends_and_can_be_reported(kind: str) -> None:
    report = check(kind, HOSTILE, b"Some words. And some more.\n")
    assert report.files == len(HOSTILE)
    assert all(0 <= each.count <= each.out_of for each in report.checks)
    for each in report.checks:
        assert all(0 <= found.offset <= SIZE for found in each.findings)
    json.dumps(report.to_json()).encode()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_hostile_is_no_corpus_either(kind: str) -> None:
    reference = b"".join(HOSTILE.values())
    assert check(kind, {"a": b"some words\n"}, reference).bytes == 11


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        check("latec", {}, b"")
    assert str(refused.value) == (
        "kind is 'latec'; it must be one of c, latex, wiki, python, play, names, prose. "
        "Did you mean latex?"
    )


def test_texts_are_cut_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_FILE", 10)
    monkeypatch.setattr(module, "MOST_BYTES", 15)
    kept, notes = bounded_texts({"a": b"x" * 11, "b": b"y" * 6, "c": b"z", "d": b""})
    assert kept == {"a": b"x" * 10, "b": b"y" * 5, "d": b""}
    assert notes == (
        "Of a, 10 of 11 bytes were looked at.",
        "Of b, 5 of 6 bytes were looked at.",
        "Of c, 0 of 1 bytes were looked at.",
    )
    monkeypatch.setattr(module, "LONGEST_REFERENCE", 5)
    report = check("names", {"a": b"anna\nmia\n"}, b"anna\nmia\n")
    assert report.check("names that the corpus does not have").count == 1
    assert report.notes == ("Of the corpus's 9 bytes, 5 were looked at.",)


def test_a_check_that_a_compiler_makes_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.compilers, "check_compiler", lambda kind: None)
    monkeypatch.setattr(module.compilers, "gcc_errors", lambda source: [])
    text = {"a.c": b"int f(void)\n{\n}\n"}
    assert (
        check("c", text, b"", compiles=True).checks[0].name == "functions without an error of gcc"
    )
    assert check("c", text, b"").checks[0].name == "bytes outside of error nodes"
