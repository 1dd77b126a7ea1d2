"""Pictures: the same bytes every time, ink of the page, no name that draws or breaks something."""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree

import pytest

from pipeline.errors import InputError
from pipeline.evaluation.plots import Bar, bars, check_installed, lines

HOSTILE = "<script>$x$ \u4e2d --> \x00 \u202e & \"'" + "y" * 100


def test_the_same_figures_give_the_same_bytes() -> None:
    rows = [Bar("a", 1.5, 1.4, 1.6), Bar("b", 2.0)]
    assert bars(rows, "bits") == bars(rows, "bits")
    series = {"a": ([0.0, 1, 2], [1.0, 2, 1])}
    assert lines(series, "x", "y", {"level": 1.5}) == lines(series, "x", "y", {"level": 1.5})
    assert bars(rows, "bits") != bars(rows[:1], "bits")


def test_ink_is_the_pages_and_no_font_is_needed() -> None:
    svg = bars([Bar("a", 1.5, 1.4, 1.6)], "bits")
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert "<text" not in svg
    assert "#000000" not in svg


def test_a_picture_names_no_time_and_no_place() -> None:
    svg = lines({"a": ([0, 1], [1, 2])}, "x", "y")
    assert "dc:date" not in svg
    assert not re.search(r'(src|href)="(?!#)', svg)


def test_a_hostile_name_is_letters() -> None:
    """Warnings are errors here: matplotlib has one for every letter that its font lacks."""
    for svg in (bars([Bar(HOSTILE, 1.0)], "bits"), lines({HOSTILE: ([0, 1], [1, 2])}, "x", "y")):
        ElementTree.fromstring(svg.encode())
        assert "<script" not in svg


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install 'unreasonable\[evaluate\]'"):
        check_installed()
