"""LaTeX with planted faults, the post's among them."""

from __future__ import annotations

import pytest

from pipeline.evaluation.structure.findings import Check
from pipeline.evaluation.structure.latex import learn, look, open_dollars, without_comments

GOOD = rb"""\begin{lemma}
\label{lemma-flat}
Let $f : X \to Y$ cost 5\$ and $$a = b$$ hold. % a $ in a comment \begin{proof}
\[ x_1 \\[2pt] \left( y \right) \]
\end{lemma}
By Lemma \ref{lemma-flat} and \eqref{algebra-equation-one}.

"""
KNOWN = learn(rb"\label{equation-one} \label{other}")


def checks(text: bytes) -> dict[str, Check]:
    return {check.name: check for check in look({"a.tex": text}, KNOWN).checks}


def places(check: Check) -> list[tuple[int, str]]:
    return [(finding.offset, finding.kind) for finding in check.findings]


def test_good_latex_has_no_fault() -> None:
    found = checks(GOOD)
    own = found.pop("references to a label of the same sample")
    assert (own.count, own.out_of) == (1, 2)
    assert not [name for name, check in found.items() if check.count < check.out_of]
    assert found["environments: openers that are closed"].out_of == 1
    assert found["delimiters of mathematics: openers that are closed"].out_of == 2
    assert found["paragraphs whose dollar signs close"].out_of == 1
    assert found["references to a label of the sample or the corpus"].out_of == 2


def test_the_posts_proof_that_ends_as_a_lemma() -> None:
    text = b"\\begin{proof}\nWe may assume.\n\\end{lemma}\n"
    found = checks(text)
    opener = found["environments: openers that are closed"]
    assert (opener.count, opener.out_of) == (0, 1)
    assert places(opener) == [(0, "proof is closed as lemma")]
    closer = found["environments: closers that close what is open"]
    assert places(closer) == [(text.index(b"\\end"), "closes proof of byte 0")]


def test_an_environment_that_is_never_closed() -> None:
    text = b"\\begin{theorem}\n\\begin{proof}\nx\n\\end{theorem}\n\\end{enumerate}\n"
    found = checks(text)
    assert places(found["environments: openers that are closed"]) == [
        (text.index(b"\\begin{proof}"), "proof is not closed")
    ]
    assert places(found["environments: closers that close what is open"]) == [
        (text.index(b"\\end{enumerate}"), "closes nothing")
    ]


def test_mathematics_that_a_paragraph_does_not_close() -> None:
    text = b"Let $x = 1 be.\n\nThen $y$ and \\(z\\].\n\nBut {$cut"
    found = checks(text)
    dollars = found["paragraphs whose dollar signs close"]
    assert (dollars.count, dollars.out_of) == (1, 2)  # the last one is cut
    assert places(dollars) == [(4, "formula is not closed")]
    assert places(found["delimiters of mathematics: openers that are closed"]) == [
        (text.index(b"\\("), "\\( is closed as \\[")
    ]


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        (b"$a$", None),
        (b"$a$$b$", None),
        (b"$$a$$", None),
        (b"$$a$", 0),
        (b"a $$b", 2),
        (b"\\$ $", 3),
        (b"$a$ $b", 4),
        (b"$a$$b", 3),
        (b"", None),
    ],
)
def test_dollar_signs_close_as_tex_reads_them(paragraph: bytes, expected: int | None) -> None:
    assert open_dollars(paragraph) == expected


def test_a_reference_that_leads_nowhere() -> None:
    text = b"See \\ref{lemma-nowhere} and \\ref{other}."
    check = checks(text)["references to a label of the sample or the corpus"]
    assert (check.count, places(check)) == (1, [(4, "label does not exist")])


def test_comments_are_blanked_and_percent_signs_are_not() -> None:
    assert without_comments(b"a\\% b % c\nd") == b"a\\% b    \nd"
    assert len(without_comments(b"\\\\% c")) == 5
    assert b"c" not in without_comments(b"\\\\% c")
