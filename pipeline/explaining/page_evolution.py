"""The page of a run: what the model wrote on the way, its loss, and what it had learned when. No
script runs in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import InputError
from pipeline.evaluation import plots
from pipeline.explaining import page_parts
from pipeline.explaining.milestones import Milestone, Sampled, milestones

_NONE = "-"


def evolution_page(run: Sequence[Sampled], text: str, title: str) -> bytes:
    """The page of a run's samples, in order of steps, beside a text of its corpus; as UTF-8.

    Raises InputError for a run without samples.
    """
    if not run:
        raise InputError(f"{title} has no samples on the way; train with --sample_every.")
    found = milestones(run, text)
    style = page_parts.source("play.css")
    steps = [each.step for each in run]
    losses = [each.loss for each in run]
    page = page_parts.filled(
        page_parts.source("evolution.html"),
        {
            # The plot has styles of its own in its attributes, which no digest can name.
            "policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
            "form-action 'none'",
            "title": page_parts.escaped(title),
            "style": page_parts.style_block(style),
            "loss": _inline(plots.lines({"loss": (steps, losses)}, "step", "nats a symbol")),
            "reached": _reached(found),
            "figures": _figures(run, found),
            "samples": "\n".join(map(_sample, run)),
        },
    )
    return page.encode()


def _reached(found: Sequence[Milestone]) -> str:
    head = _row("th", "what", "by step", "means")
    rows = [
        _row("td", each.name, _NONE if each.reached is None else f"{each.reached:,}", each.needed)
        for each in found
    ]
    return head + "".join(rows)


def _figures(run: Sequence[Sampled], found: Sequence[Milestone]) -> str:
    head = _row("th", "step", "loss", *(each.name for each in found))
    rows = []
    for at, sampled in enumerate(run):
        figures = [_shown(each.figures[at]) for each in found]
        rows.append(_row("td", f"{sampled.step:,}", f"{sampled.loss:.3f}", *figures))
    return head + "".join(rows)


def _shown(figure: float | None) -> str:
    return _NONE if figure is None else f"{figure:.1%}"


def _row(kind: str, *cells: str) -> str:
    filled = "".join(f"<{kind}>{page_parts.escaped(cell)}</{kind}>" for cell in cells)
    return f"<tr>{filled}</tr>"


def _sample(sampled: Sampled) -> str:
    title = f"Step {sampled.step:,}, loss {sampled.loss:.3f}"
    return f"<h3>{title}</h3><pre>{page_parts.escaped(sampled.sample)}</pre>"


def _inline(svg: str) -> str:
    """An SVG document as a part of a page: without its XML declaration and document type."""
    return svg[svg.index("<svg") :]
