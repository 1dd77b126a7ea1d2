"""Pictures of a report as SVG: the same figures give the same bytes, and no text needs a font.

matplotlib draws them. Ink is `currentColor`, so a page's light or dark mode reaches into them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError

_INK = "#010203"  # no other part of a picture has this colour
_COLOURS = ("#2f7fd1", "#d1622f", "#3a9a5b", "#9b59b6", "#b8860b", "#c0396b")  # on white and black
_SETTINGS = {
    "svg.hashsalt": "unreasonable",  # ids of clips and markers, which are random otherwise
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",  # matplotlib brings it: no other machine's fonts are asked
    "font.size": 9.0,
    "text.parse_math": False,  # a model may be called $x$
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


@dataclass(frozen=True)
class Bar:
    """A bar of a chart; `low` and `high` are its interval, if it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def bars(rows: Sequence[Bar], label: str) -> str:
    """Bars one below the other, each with its figure."""

    def draw(axes: Any) -> None:
        for place, row in enumerate(rows):
            axes.barh(place, row.value, color=_COLOURS[0], alpha=0.75)
            end = row.value
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place, place], color=_INK, linewidth=1.5)
                end = max(end, row.high)
            axes.annotate(f" {row.value:.3f}", (end, place), va="center")
        axes.set_yticks(range(len(rows)), [_plain(row.name) for row in rows])
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel(label)

    return _svg(draw, height=0.6 + 0.3 * len(rows))


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    levels: Mapping[str, float] | None = None,
) -> str:
    """Lines by name, each of (x, y), with horizontal levels for comparison."""

    def draw(axes: Any) -> None:
        colours = iter(_COLOURS * 10)
        for name, (x, y) in series.items():
            axes.plot(x, y, label=_plain(name), color=next(colours), linewidth=1.3)
        for name, level in (levels or {}).items():
            axes.axhline(level, label=_plain(name), color=next(colours), linestyle="--")
        is_whole = all(float(each).is_integer() for x, _ in series.values() for each in x)
        axes.xaxis.get_major_locator().set_params(integer=is_whole)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend(frameon=False, fontsize=8)

    return _svg(draw, height=3.0)


def check_installed() -> None:
    """Raise InputError unless matplotlib is there."""
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError:
        raise InputError(
            "the report's plots need the extra evaluate: pip install 'unreasonable[evaluate]'"
        ) from None


def _svg(draw: Callable[[Any], None], height: float) -> str:
    # Figure alone: pyplot would keep every figure, and look for a display.
    import matplotlib
    from matplotlib.figure import Figure

    target = io.StringIO()
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.patch.set_visible(False)
        draw(axes)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(target, format="svg", transparent=True, metadata=nothing)
    return target.getvalue().replace(_INK, "currentColor")


def _plain(name: str, limit: int = 48) -> str:
    """A name in characters that the font has: matplotlib warns of every other one."""
    shown = "".join(char if " " <= char <= "~" else "?" for char in name)
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."
