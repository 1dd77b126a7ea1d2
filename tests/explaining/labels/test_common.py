from __future__ import annotations

from pipeline.explaining.labels import common
from tests.explaining.labels.marks import marked, numbers


def test_lines_words_digits_capitals_and_spaces() -> None:
    labels = common.labels("Ab 1\ncD")
    assert numbers(labels, "position in line") == [1, 2, 3, 4, 0, 1, 2]
    assert marked(labels, "before a newline") == "...#..."
    assert marked(labels, "word start") == "#....#."
    assert numbers(labels, "position in word") == [1, 2, 0, 0, 0, 1, 2]
    assert marked(labels, "digit") == "...#..."
    assert marked(labels, "upper case") == "#.....#"
    assert numbers(labels, "time since a space") == [1, 2, 0, 1, 2, 3, 4]


def test_indentation_grows_while_it_is_read_and_tabs_count_to_the_next_eighth() -> None:
    label = common.indentation("  a b\n\tc\n  \td")
    assert label.values.tolist() == [1, 2, 2, 2, 2, 0, 8, 8, 0, 1, 2, 8, 8]


def test_quotes_open_and_close_and_an_empty_line_ends_them() -> None:
    assert marked([common.quotes('a"bc"d')], "inside quotes") == ".###.."
    assert marked([common.quotes("“a” b")], "inside quotes") == "##..."
    assert marked([common.quotes('"a\n\nb"c')], "inside quotes") == "###..##"


def test_a_quote_that_is_never_closed_ends() -> None:
    text = '"' + "a" * 3000
    inside = common.quotes(text).values
    assert inside.sum() == common.LONGEST_QUOTE + 1


def test_brackets_are_paired() -> None:
    labels = common.brackets("a(b[c]d)e)")
    assert numbers(labels, "bracket depth") == [0, 1, 1, 2, 2, 1, 1, 0, 0, 0]
    assert marked(labels, "inside brackets") == ".######..."


def test_a_closer_closes_what_was_left_open_behind_its_opener() -> None:
    assert numbers(common.brackets("([{)]a"), "bracket depth") == [1, 2, 3, 0, 0, 0]


def test_a_hostile_depth_is_bounded() -> None:
    assert max(numbers(common.brackets("(" * 5000), "bracket depth")) == 100
