from __future__ import annotations

from pipeline.explaining.labels import python
from tests.explaining.labels.marks import marked, numbers


def test_quotes_of_all_kinds() -> None:
    name = "inside quotes"
    assert marked(python.labels("a='b\"c'd"), name) == "..####.."
    assert marked(python.labels("''a"), name) == "#.."
    assert marked(python.labels(r"'a\'b'c"), name) == "#####.."
    assert marked(python.labels("'a\nb"), name) == "##.."


def test_triple_quotes_go_over_lines_and_hold_single_ones() -> None:
    labels = python.labels('"""a"\nb"""c')
    assert marked(labels, "inside triple quotes") == "#########.."
    assert marked(python.labels('""""""a'), "inside quotes") == "#####.."


def test_comments_end_with_their_line() -> None:
    labels = python.labels("a#'b\nc'd'")
    assert marked(labels, "inside a comment") == ".###....."
    assert marked(labels, "inside a comment or quotes") == ".###..##."


def test_if_conditions() -> None:
    name = "inside an if-condition"
    assert marked(python.labels("if a:\n b"), name) == "..##...."
    assert marked(python.labels("if a[b:c]:d"), name) == "..#######.."
    assert marked(python.labels("[a if b]c"), name) == ".....##.."
    assert marked(python.labels("x if b else c"), name) == "....######..."


def test_a_definition_ends_what_was_left_open() -> None:
    text = '"""a\ndef f(b):'
    labels = python.labels(text)
    assert marked(labels, "inside quotes") == "#####........."
    assert numbers(python.labels("(\ndef f():"), "bracket depth") == [1, 1, 0, 0, 0, 0, 0, 1, 0, 0]
