from __future__ import annotations

from pipeline.explaining.labels import c
from tests.explaining.labels.marks import marked, numbers


def test_strings_and_characters() -> None:
    text = r'a="b\"c";' + "d='\\'';"
    assert marked(c.labels(text), "inside quotes") == "..#####....###.."[: len(text)]


def test_comments() -> None:
    labels = c.labels("a//b\nc/*d*/e/*/f*/g")
    assert marked(labels, "inside a comment") == "..##...###...####.."


def test_a_quote_in_a_comment_opens_nothing_and_a_comment_in_a_string_neither() -> None:
    assert marked(c.labels("/*'*/a"), "inside quotes") == "......"
    assert marked(c.labels('"/*"a'), "inside a comment") == "....."
    assert marked(c.labels('/*\'*/"b"'), "inside a comment or quotes") == ".###.##."


def test_a_string_ends_with_its_line_unless_it_goes_on() -> None:
    assert marked(c.labels('"a\nb'), "inside quotes") == "##.."
    assert marked(c.labels('"a\\\nb"'), "inside quotes") == "#####."


def test_if_conditions_end_with_their_bracket() -> None:
    name = "inside an if-condition"
    assert marked(c.labels("if (a(b)) c(d)"), name) == "...#####......"
    assert marked(c.labels("if(a)b"), name) == "..##.."
    assert marked(c.labels("gif (a) x"), name) == "........."
    assert marked(c.labels("if (a; b)"), name) == "...##...."


def test_braces_preprocessor_lines_and_a_function_that_leaves_one_open() -> None:
    assert numbers(c.labels("f{{}\n}"), "brace depth") == [0, 1, 2, 1, 1, 0]
    assert numbers(c.labels("f{{\n}g"), "brace depth") == [0, 1, 2, 2, 0, 0]
    assert marked(c.labels("#a\\\nb\nc #d"), "preprocessor line") == "#####....."
