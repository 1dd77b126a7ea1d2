"""What real compilers say: gcc of each C function, TeX of each LaTeX sample.

The text is hostile until shown otherwise. gcc reads it as already preprocessed, without a line that
starts with #, so that it opens no other file; TeX may neither open files outside of its folder nor
start programs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.evaluation.structure.c import code_of, read_tokens
from pipeline.evaluation.structure.c_syntax import functions
from pipeline.evaluation.structure.findings import EXCERPT, Found, Tally, Texts, finished

COMPILERS = {"c": ("gcc",), "latex": ("pdflatex", "xelatex", "lualatex")}
MOST_FUNCTIONS = 200  # gcc takes 20 ms to start
GCC_S = 10  # seconds
TEX_S = 120
_GCC = ("-fsyntax-only", "-w", "-fmax-errors=20", "-fno-diagnostics-show-caret", "-x", "cpp-output")
_GCC_ERROR = re.compile(rb"^<stdin>:(\d+):\d+: (?:fatal )?error: ([^\n]*)", re.MULTILINE)
# What a function alone cannot know: names of headers and of the rest of its file.
_CONTEXT = re.compile(
    rb"undeclared|unknown type name|has incomplete type|incomplete typedef|no member named|"
    rb"storage size of|implicit declaration|dereferencing|invalid use of undefined type"
)
_TEX_ERROR = re.compile(rb"^!([^\n]*)", re.MULTILINE)
_TEX_LINE = re.compile(rb"^l\.(\d+)", re.MULTILINE)
_PREAMBLE = (
    rb"\documentclass{amsart}\usepackage{amssymb}"
    rb"\newtheorem{theorem}{Theorem}\newtheorem{lemma}{Lemma}\newtheorem{proposition}{Proposition}"
    rb"\newtheorem{definition}{Definition}\newtheorem{remark}{Remark}\newtheorem{example}{Example}"
    rb"\begin{document}"
)


def compiler(kind: str) -> str:
    """The path of a kind's compiler on this machine; "" when there is none."""
    found = [shutil.which(name) for name in COMPILERS.get(kind, ())]
    return next((path for path in found if path), "")


def check_compiler(kind: str) -> None:
    """InputError when a kind has no compiler, or none is installed."""
    if kind not in COMPILERS:
        raise InputError(f"kind {kind} has no compiler; leave --compile out.")
    if not compiler(kind):
        names = " or ".join(COMPILERS[kind])
        raise InputError(f"--compile needs {names}, found none; install it, or leave it out.")


def look(kind: str, texts: Texts) -> Found:
    return _look_c(texts) if kind == "c" else _look_latex(texts)


def gcc_errors(source: bytes) -> list[tuple[int, bytes]]:
    """Line and message of what gcc refuses in a text by itself; empty when it takes it."""
    try:
        done = subprocess.run(
            [compiler("c"), *_GCC, "-"],
            input=harmless(source),
            capture_output=True,
            timeout=GCC_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return [(1, b"gcc took too long")]
    errors = [(int(line), message) for line, message in _GCC_ERROR.findall(done.stderr)]
    if done.returncode and not errors:
        return [(1, b"gcc failed: " + done.stderr[:EXCERPT])]
    return errors


def harmless(source: bytes) -> bytes:
    """C without anything that is meant for the preprocessor: lines stay in their places."""
    lines = []
    for line in source.split(b"\n"):
        is_directive = line.lstrip().startswith((b"#", b"%:"))
        lines.append(b"" if is_directive else line)
    kept = b"\n".join(lines)
    for word in (b"#", b"%:", b"_Pragma"):
        kept = kept.replace(word, b" " * len(word))
    return kept


def tex_errors(text: bytes, program: str, timeout_s: float = TEX_S) -> list[tuple[int, bytes]]:
    """Line and message of each error that TeX reports for a sample, counted from its first line."""
    with tempfile.TemporaryDirectory() as folder:
        # The sample begins a line of its own: TeX's line numbers are ours plus one.
        (Path(folder) / "sample.tex").write_bytes(_PREAMBLE + b"\n" + text + b"\n\\end{document}\n")
        command = [program, "-interaction=nonstopmode", "-no-shell-escape", "sample.tex"]
        limits = {"openin_any": "p", "openout_any": "p", "TEXMFOUTPUT": folder}
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                env={**os.environ, **limits},
            )
        except subprocess.TimeoutExpired:
            return [(1, b"TeX took too long")]
    errors = []
    for match in _TEX_ERROR.finditer(done.stdout):
        line = _TEX_LINE.search(done.stdout, match.end())
        errors.append((max(1, int(line.group(1)) - 1) if line else 1, match.group(1).strip()))
    return errors


def _look_c(texts: Texts) -> Found:
    compiled = Tally("functions without an error of gcc")
    grammatical = Tally("functions without an error of gcc but for what headers would declare")
    left = 0
    for file, text in texts.items():
        for function in functions(code_of(text, list(read_tokens(text)))):
            if not function.is_closed:
                continue
            if compiled.out_of == MOST_FUNCTIONS:
                left += 1
                continue
            source = text[function.start : function.end]
            errors = gcc_errors(source)
            own = [error for error in errors if not _CONTEXT.search(error[1])]
            for tally, kept in ((compiled, errors), (grammatical, own)):
                _count(tally, file, text, function.start, kept)
    note = f"gcc saw the first {MOST_FUNCTIONS} functions; {left} more were left out."
    return Found(checks=finished([compiled, grammatical]), notes=(note,) if left else ())


def _look_latex(texts: Texts) -> Found:
    program = compiler("latex")
    compiled = Tally("samples without an error of TeX")
    for file, text in texts.items():
        _count(compiled, file, text, 0, tex_errors(text, program))
    return Found(checks=finished([compiled]))


def _count(
    tally: Tally, file: str, text: bytes, start: int, errors: Sequence[tuple[int, bytes]]
) -> None:
    """One case, and its first error's place: `start` is where line 1 begins."""
    if not errors:
        tally.holds()
        return
    line, message = errors[0]
    at = start
    for _ in range(line - 1):
        newline = text.find(b"\n", at)
        if newline < 0:
            break
        at = newline + 1
    kind = message[:200].decode("utf-8", "replace")
    tally.fails(file, at, kind, text[at : at + EXCERPT])
