"""The picture of where the loss lies: shares as bars, bits by distance as lines.

SVG from matplotlib, whose drawing and layout are not ours to write; the same numbers give the same
bytes. Its words are ours: no text of a corpus is in it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Bits a symbol by distance: a value at each of `distances` for every name."""

    title: str
    label: str
    distances: list[int]
    bits: dict[str, list[float]]


def plot(shares: Mapping[str, float], left: Lines, right: Lines) -> str:
    """An SVG document: shares in percent by name, the first on top, and two pictures of lines.

    InputError without matplotlib.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            "plots need the extra evaluate: pip install 'unreasonable[evaluate]'"
        ) from None
    # Names of clip paths are random without a salt. Text stays text: smaller, and can be read out.
    settings: Any = {"svg.hashsalt": "unreasonable", "svg.fonttype": "none", "font.size": 9}
    with mpl.rc_context(settings):
        # Places by hand: matplotlib's layout engine draws all twice to find them.
        figure = Figure(figsize=(9, 7))
        bars = figure.add_axes((0.25, 0.58, 0.72, 0.39))
        bars.barh(list(shares), list(shares.values()), color="#4878a8")
        bars.invert_yaxis()
        bars.set_xlabel("% of the loss, each symbol counted once")
        _draw(figure.add_axes((0.08, 0.08, 0.4, 0.37)), left)
        _draw(figure.add_axes((0.57, 0.08, 0.4, 0.37)), right)
        written = io.StringIO()
        # Without None a date would make every report another one.
        figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    return text[text.index("<svg") :]  # what stands before belongs to a file, not into a page


def _draw(axes: Any, lines: Lines) -> None:
    for name, bits in lines.bits.items():
        axes.plot(lines.distances, bits, marker="o", label=name)
    if lines.distances:
        axes.set_xscale("log")
        axes.legend()
    axes.set_ylim(bottom=0)
    axes.set_title(lines.title)
    axes.set_xlabel(lines.label)
    axes.set_ylabel("bits a symbol")
