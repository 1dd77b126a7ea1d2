"""Which documents a recipe takes, and what they are called."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.corpora.selection import Selection, fixed_part

from .conftest import corpus_config


@pytest.mark.parametrize(
    ("changes", "path", "name"),
    [
        ({}, "a/b.txt", "a/b.txt"),
        ({"include": ["*.txt"]}, "a/b.txt", "a/b.txt"),
        ({"include": ["b.*"]}, "a/b.txt", "a/b.txt"),
        ({"include": ["a/*"]}, "a/b.txt", "a/b.txt"),
        ({"include": ["b/*"]}, "a/b.txt", None),
        ({"include": ["*.md", "*.txt"]}, "a/b.txt", "a/b.txt"),
        ({"include": ["*.TXT"]}, "a/b.txt", None),
        ({"exclude": ["b*"]}, "a/b.txt", None),
        ({"exclude": ["a/b*"]}, "a/b.txt", None),
        ({"exclude": ["c*"]}, "a/b.txt", "a/b.txt"),
        ({"include": ["*.txt"], "exclude": ["*.txt"]}, "a/b.txt", None),
        ({"strip_prefix": "linux-*/"}, "linux-6.1/a/b", "a/b"),
        ({"strip_prefix": "linux-*/"}, "other/a/b", "other/a/b"),
        ({"strip_prefix": "linux-?"}, "linux-6/a", "a"),
        ({"strip_prefix": "linux-?"}, "linux-/a", "linux-/a"),
        ({"strip_prefix": "*/"}, "x/a/b", "a/b"),
        ({"strip_prefix": "a.b/"}, "axb/c", "axb/c"),
        ({"strip_prefix": "a"}, "b/a", "b/a"),
        # Patterns see the path that the document will have.
        ({"strip_prefix": "top/", "include": ["top/*"]}, "top/a", None),
        ({"strip_prefix": "top/", "include": ["a"]}, "top/a", "a"),
    ],
)
def test_patterns_decide_what_is_taken(
    changes: dict[str, Any], path: str, name: str | None
) -> None:
    assert Selection(corpus_config(**changes)).name(path) == name


def test_a_prefix_tells_sources_apart() -> None:
    selection = Selection(corpus_config(include=["b.txt"], strip_prefix="a/"), "one/")
    assert selection.name("a/b.txt") == "one/b.txt"
    assert selection.name("one/a") is None


@pytest.mark.parametrize(
    ("within", "path", "name"),
    [
        ("a/b.txt", "a/b.txt", "b.txt"),
        ("b.txt", "a/b.txt", None),
        ("a", "a/b/c.txt", "b/c.txt"),
        ("/a/", "a/b.txt", "b.txt"),
        ("a", "ab/c.txt", None),
        ("a/b", "a/b/c/d", "c/d"),
        ("a/*.txt", "a/b.txt", "b.txt"),
        ("a/*.txt", "a/b.md", None),
        ("a/*/c", "a/b/c", "b/c"),
        ("*.txt", "a/b.txt", "a/b.txt"),
        ("", "a/b.txt", "a/b.txt"),
    ],
)
def test_a_part_of_an_archive_can_be_asked_for(within: str, path: str, name: str | None) -> None:
    assert Selection(corpus_config(), within=within).name(path) == name


def test_the_part_asked_for_is_cut_off_before_folders_are_dropped() -> None:
    selection = Selection(corpus_config(strip_prefix="b/"), within="a")
    assert selection.name("a/b/c") == "c"


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("/a/b/*.txt", "/a/b"),
        ("/a/b?/c", "/a"),
        ("/a/[xy]/c", "/a"),
        ("/a/x*y/z*", "/a"),
        ("*.txt", ""),
        ("a/b.txt", "a"),
    ],
)
def test_the_fixed_part_ends_before_the_first_wildcard(pattern: str, folder: str) -> None:
    assert fixed_part(pattern) == folder
