"""The picture: well-formed, without a date, the same for the same numbers."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation.breakdown import Breakdown, breakdown
from pipeline.evaluation.breakdown_plot import plot


def example() -> Breakdown:
    text = np.frombuffer(b"a (b) c\n" * 40, np.uint8)
    nats = np.linspace(0, 1, len(text))
    return breakdown(text, nats, "byte", rivals={"20-gram": nats + 0.5})


def test_the_picture_is_one_svg_that_stays_the_same() -> None:
    drawn = plot(example())
    assert ET.fromstring(drawn).tag.endswith("svg")
    assert drawn == plot(example())
    assert "dc:date" not in drawn
    assert "<script" not in drawn
    assert "20-gram" in drawn
    assert "after a newline" in drawn


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'unreasonable\[evaluate\]'"):
        plot(example())
