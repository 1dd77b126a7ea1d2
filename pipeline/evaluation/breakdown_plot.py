"""The picture of where the loss lies: own shares as bars, bits by distance as lines.

SVG from matplotlib, whose drawing and layout are not ours to write; the same numbers give the same
bytes. Its words are ours: no text of a corpus is in it.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.evaluation.breakdown import Bin, Breakdown


def plot(result: Breakdown) -> str:
    """An SVG document. InputError without matplotlib."""
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
        # Places by hand: matplotlib's layout engine takes 2 s to find them.
        figure = Figure(figsize=(9, 7))
        _bars(figure.add_axes((0.25, 0.58, 0.72, 0.39)), result)
        closers = figure.add_axes((0.08, 0.08, 0.4, 0.37))
        _lines(closers, result.closers, result, "symbols since the opener", "closing symbols")
        learning = figure.add_axes((0.57, 0.08, 0.4, 0.37))
        _lines(learning, result.learning, result, "symbols since an empty state", "all symbols")
        written = io.StringIO()
        # Without None a date would make every report another one.
        figure.savefig(written, format="svg", metadata={"Date": None}, transparent=True)
    text = written.getvalue()
    return text[text.index("<svg") :]  # what stands before belongs to a file, not into a page


def _bars(axes: Any, result: Breakdown) -> None:
    """Own shares of the loss by kind, the first kind on top."""
    names = [kind.name for kind in result.kinds]
    shares = [100 * kind.own / result.nats if result.nats else 0.0 for kind in result.kinds]
    axes.barh(names, shares, color="#4878a8")
    axes.invert_yaxis()
    axes.set_xlabel("% of the loss, each symbol counted once")


def _lines(axes: Any, bins: tuple[Bin, ...], result: Breakdown, label: str, title: str) -> None:
    """Bits by distance for the model and its rivals."""
    lows = [each.low for each in bins]
    axes.plot(lows, [each.bits for each in bins], marker="o", label="model")
    for name in result.rivals:
        bits = [each.rivals[name] / math.log(2) / each.symbols for each in bins]
        axes.plot(lows, bits, marker="s", linestyle="--", label=name)
    if lows:
        axes.set_xscale("log")
        axes.legend()
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.set_xlabel(label)
    axes.set_ylabel("bits a symbol")
