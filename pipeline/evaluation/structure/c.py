"""C: comments, strings and brackets of whole texts; functions one by one, in c_syntax.py.

A lexer of our own tells code from comments and strings, since a sample's may be broken in ways
that no compiler reads on from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.evaluation.structure.c_syntax import look_at_syntax
from pipeline.evaluation.structure.findings import EXCERPT, Found, Tally, Texts, finished, joined
from pipeline.evaluation.structure.nesting import Balance, bracket_events

_TOKEN = re.compile(rb"""/\*|//[^\n]*|"(?:\\[\s\S]|[^"\\\n])*+("?)|'(?:\\[\s\S]|[^'\\\n])*+('?)""")
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
_NOT_NEWLINE = re.compile(rb"[^\n]")
_LICENCE = re.compile(
    rb"GNU\s+(?:[*#/]\s*)*(?:Lesser\s+|Library\s+)?General|SPDX-[\w-]+: *\(?L?GPL"
)
_LICENCE_BY = 1_000  # bytes: the kernel's own notices name the licence within the first 15 lines


@dataclass(frozen=True)
class Token:
    """A comment or a string. `kind`: comment, string, character. Unclosed ones are `is_closed`
    False; a comment that the text's end cuts has None.
    """

    kind: str
    start: int
    end: int
    is_closed: bool | None


def learn(reference: bytes) -> None:
    """Nothing of C is measured against the corpus."""
    del reference


def look(texts: Texts, known: None) -> Found:
    del known
    comments = Tally("comments that are closed")
    strings = Tally("strings that are closed on their line")
    licensed = Tally("samples that begin with the GNU licence")
    brackets = Balance("brackets", wrong_closes=False, by_distance=True)
    codes: dict[str, bytes] = {}
    for file, text in texts.items():
        tokens = list(read_tokens(text))
        for token in tokens:
            _count(token, file, text, comments, strings)
        codes[file] = code_of(text, tokens)
        brackets.add(file, text, bracket_events(codes[file]))
        if begins_with_licence(text):
            licensed.holds()
        else:
            licensed.fails(file, 0, "no GNU licence", text)
    lexical = Found(checks=finished([comments, strings, licensed]))
    return joined([look_at_syntax(texts, codes), brackets.found(), lexical])


def read_tokens(text: bytes) -> Iterator[Token]:
    """Comments and strings, in order.

    A comment in which another one begins was not closed: the inner one is read for itself.
    """
    at = 0
    while match := _TOKEN.search(text, at):
        at = match.end()
        first = match.group()[:1]
        if match.group() == b"/*":
            edge = _COMMENT_EDGE.search(text, at)
            is_closed = None if edge is None else edge.group() == b"*/"
            # The edge that opens the next comment is that comment's own.
            at = len(text) if edge is None else edge.end() if is_closed else edge.start()
            yield Token("comment", match.start(), at, is_closed)
        elif first == b"/":
            yield Token("comment", match.start(), at, True)
        elif first == b'"':
            yield Token("string", match.start(), at, bool(match.group(1)))
        elif match.group(2):
            yield Token("character", match.start(), at, True)
        else:
            at = match.start() + 1  # an apostrophe, as in `#error don't`


def code_of(text: bytes, tokens: list[Token]) -> bytes:
    """The text with comments and strings blanked: every offset and every line stays."""
    parts = []
    at = 0
    for token in tokens:
        parts.append(text[at : token.start])
        parts.append(_NOT_NEWLINE.sub(b" ", text[token.start : token.end]))
        at = token.end
    return b"".join([*parts, text[at:]])


def begins_with_licence(text: bytes) -> bool:
    """Whether a comment at the text's start names the GNU licence, in full or as SPDX does."""
    start = text.lstrip()
    return start.startswith((b"/*", b"//")) and bool(_LICENCE.search(start[:_LICENCE_BY]))


def _count(token: Token, file: str, text: bytes, comments: Tally, strings: Tally) -> None:
    tally = {"comment": comments, "string": strings}.get(token.kind)
    if tally is None or token.is_closed is None:
        return
    at_the_end = token.end == len(text)
    if token.is_closed:
        tally.holds()
    elif not at_the_end:  # the sample's end cuts it, which is no fault
        shown = text[token.start : token.start + EXCERPT]
        tally.fails(file, token.start, f"{token.kind} is not closed", shown)
