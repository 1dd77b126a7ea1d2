"""The picture: well-formed, without a date, the same for the same numbers."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

import pytest

from pipeline.errors import InputError
from pipeline.evaluation.breakdown_plot import Lines, plot

LINES = Lines(
    title="closers", label="distance", distances=[1, 10], bits={"model": [1.0, 2.0], "r": [3, 4]}
)
NOTHING = Lines(title="nothing", label="distance", distances=[], bits={"model": []})


def test_the_picture_is_one_svg_that_stays_the_same() -> None:
    drawn = plot({"after a newline": 60.0, "others": 40.0}, LINES, NOTHING)
    assert ET.fromstring(drawn).tag.endswith("svg")
    assert drawn == plot({"after a newline": 60.0, "others": 40.0}, LINES, NOTHING)
    assert "dc:date" not in drawn
    assert "<script" not in drawn
    for words in ("after a newline", "closers", "nothing", "model"):
        assert words in drawn


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'unreasonable\[evaluate\]'"):
        plot({}, LINES, LINES)
