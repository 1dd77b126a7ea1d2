from __future__ import annotations

from pipeline.explaining.labels import prose
from tests.explaining.labels.marks import marked, numbers


def test_sentences() -> None:
    labels = prose.prose("ab. c?")
    assert numbers(labels, "position in sentence") == [1, 2, 0, 1, 2, 0]
    assert marked(labels, "before a sentence's end") == ".#..#."


def test_speakers_stand_behind_an_empty_line_and_end_with_a_colon() -> None:
    labels = prose.play("A:\nb:\n\nC:\nd")
    assert marked(labels, "speaker's name") == "##.....##.."
    assert numbers(labels, "position in speech") == [0, 0, 1, 2, 3, 4, 5, 0, 0, 1, 2]


def test_joints_of_names() -> None:
    assert marked(prose.names("Jo-Al\n"), "joint of a name") == "..#..."
