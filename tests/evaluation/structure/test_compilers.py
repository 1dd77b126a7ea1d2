"""gcc on functions, TeX by a stand-in that prints what TeX prints; hostile text opens no file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.evaluation.structure import compilers
from pipeline.evaluation.structure.compilers import (
    check_compiler,
    compiler,
    gcc_errors,
    harmless,
    look,
    tex_errors,
)

C = b"""static int good(int a)
{
\treturn a;
}

static int needs_a_header(struct list *a)
{
\treturn a->size + LIMIT;
}

static int broken(int a)
{
\tint b = a;
\treturn a +;
}
"""
TEX = """#!/bin/sh
[ "$openin_any$openout_any" = pp ] || exit 3
case "$*" in *-no-shell-escape*) ;; *) exit 4 ;; esac
grep -n 'undefinedthing' sample.tex | while IFS=: read number rest; do
  echo '! Undefined control sequence.'
  echo "l.$number $rest"
done
"""


@pytest.fixture
def fake_gcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gcc that knows the messages of this file, so that the test needs no compiler."""
    script = tmp_path / "gcc"
    script.write_text(
        '#!/bin/sh\ntext=$(cat)\ncase "$text" in\n'
        "  *LIMIT*) echo \"<stdin>:3:19: error: 'LIMIT' undeclared\" >&2; exit 1 ;;\n"
        "  *+\\;*) echo '<stdin>:4:12: error: expected expression' >&2; exit 1 ;;\nesac\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path('/bin')}:/usr/bin")


@pytest.mark.usefixtures("fake_gcc")
def test_functions_are_compiled_one_by_one_with_places() -> None:
    compiled, grammatical = look("c", {"a.c": C}).checks
    assert (compiled.count, compiled.out_of) == (1, 3)
    assert [each.offset for each in compiled.findings] == [
        C.index(b"\treturn a->size"),
        C.index(b"\treturn a +;"),
    ]
    assert (grammatical.count, grammatical.out_of) == (2, 3)
    assert grammatical.findings[0].kind == "expected expression"


def test_the_real_gcc_where_there_is_one() -> None:
    expected = {"good": 0, "broken": 1} if shutil.which("gcc") else {}
    sources = {"good": C[: C.index(b"\n\n")], "broken": C[C.index(b"static int broken") :]}
    for name, count in expected.items():
        errors = gcc_errors(sources[name])
        assert len(errors) == count, errors
    if expected:
        assert gcc_errors(sources["broken"])[0][0] == 4
        directives = (b"#", b" %:", b"/**/ #")
        secret = b"\n".join(sign + b'include "/etc/hostname"' for sign in directives)
        assert all(b"hostname" not in message for _, message in gcc_errors(secret))


def test_nothing_for_the_preprocessor_reaches_gcc() -> None:
    source = b'#include "a"\n  # pragma x\n%:include "b"\n/**/ # include <c>\n_Pragma("d") int a;\n'
    kept = harmless(source)
    assert kept.count(b"\n") == source.count(b"\n")
    assert not any(word in kept for word in (b"#", b"%:", b"_Pragma", b'"a"', b'"b"'))
    assert b"int a;" in kept


@pytest.mark.usefixtures("fake_gcc")
def test_no_more_functions_than_gcc_has_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers, "MOST_FUNCTIONS", 1)
    found = look("c", {"a.c": C})
    assert found.checks[0].out_of == 1
    assert found.notes == ("gcc saw the first 1 functions; 2 more were left out.",)


def test_errors_of_tex_have_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pdflatex"
    program.write_text(TEX)
    program.chmod(0o755)
    text = b"good\n\\undefinedthing\ngood\n"
    assert tex_errors(text, str(program)) == [(2, b"Undefined control sequence.")]
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    (check,) = look("latex", {"a.tex": text, "b.tex": b"good\n"}).checks
    assert (check.count, check.out_of) == (1, 2)
    assert check.findings[0].offset == text.index(b"\\undefinedthing")


def test_a_tex_that_never_ends_is_stopped(tmp_path: Path) -> None:
    program = tmp_path / "tex"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    assert tex_errors(b"x", str(program), timeout_s=0.1) == [(1, b"TeX took too long")]


def test_a_compiler_that_is_not_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert compiler("c") == ""
    with pytest.raises(InputError, match=r"--compile needs gcc, found none"):
        check_compiler("c")
    with pytest.raises(InputError, match=r"needs pdflatex or xelatex or lualatex"):
        check_compiler("latex")
    with pytest.raises(InputError, match="kind names has no compiler"):
        check_compiler("names")
