from __future__ import annotations

from pipeline.explaining.labels import latex
from tests.explaining.labels.marks import marked, numbers


def test_dollars() -> None:
    name = "inside $ $"
    assert marked(latex.labels("a$b$c"), name) == ".##.."
    assert marked(latex.labels(r"\$a$b$"), name) == "...##."
    assert marked(latex.labels("$a\n\nb$c"), name) == "###..##"


def test_a_display_is_mathematics_and_the_next_one_opens_anew() -> None:
    assert marked(latex.labels("$$a$$b$$c$$d"), "inside mathematics") == "####..####.."
    assert marked(latex.labels(r"\[a\]b"), "inside mathematics") == ".###.."


def test_environments_and_their_depth() -> None:
    text = r"\begin{a}x\begin{align*}y\end{align*}\end{a}z"
    labels = latex.labels(text)
    depths = numbers(labels, "environment depth")
    assert [depths[text.index(symbol)] for symbol in "xyz"] == [1, 2, 0]
    maths = marked(labels, "inside mathematics")
    assert [maths[text.index(symbol)] for symbol in "xyz"] == [".", "#", "."]


def test_commands_and_comments() -> None:
    assert marked(latex.labels(r"a\bc d"), "inside a command's name") == ".###.."
    assert marked(latex.labels("a%$\nb\\%c"), "inside a comment") == ".##....."


def test_unbalanced_text_stays_bounded() -> None:
    assert max(numbers(latex.labels(r"\begin{a}" * 300), "environment depth")) == 100
    assert numbers(latex.labels(r"\end{a}}}}"), "environment depth") == [0] * 10
