from __future__ import annotations

from pipeline.explaining.labels import wiki
from tests.explaining.labels.marks import marked, numbers


def test_links_open_and_close_with_their_second_bracket() -> None:
    labels = wiki.labels("a[[bc]]d")
    assert marked(labels, "inside [[ ]]") == "..####.."
    assert numbers(labels, "position in [[ ]]") == [0, 0, 1, 2, 3, 4, 0, 0]


def test_a_link_that_is_never_closed_ends() -> None:
    assert marked(wiki.labels("[[a\n\nb"), "inside [[ ]]") == ".###.."
    assert wiki.pair_depths("[[" + "a" * 9000, "[", "]").sum() == wiki.LONGEST + 1


def test_templates_lie_in_each_other_and_three_brackets_are_one_opener() -> None:
    assert numbers(wiki.labels("{{a{{b}}}}"), "{{ }} depth") == [0, 1, 1, 1, 2, 2, 2, 1, 1, 0]
    assert wiki.pair_depths("[[[a", "[", "]").tolist() == [0, 1, 1, 1]


def test_tags() -> None:
    assert marked(wiki.labels("a<b c>d< e</f>"), "inside a tag") == ".####.....###."


def test_urls_and_www() -> None:
    labels = wiki.labels("http://www.a.b c www.d")
    assert marked(labels, "inside a URL") == "......########......##"
    assert marked(labels, "www run") == ".......###.......###.."
    assert marked(wiki.labels("awww wwww www"), "www run") == "..........###"
