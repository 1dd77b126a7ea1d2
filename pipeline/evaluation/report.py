"""An evaluation as one HTML file: no script, no network, every text escaped, light and dark.

A part of the report is a function of SECTIONS. It gives a Section, or None where it has nothing to
say.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from pipeline.evaluation import plots
from pipeline.evaluation.intervals import Interval
from pipeline.evaluation.plots import Bar
from pipeline.evaluation.result import Evaluation, ModelScore
from pipeline.evaluation.section import Section

# Control characters, and those that turn the order of letters round: shown by their numbers.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NONE = "-"
_SHORT = 16  # characters of a cell that stays on one line

# The policy forbids all but the page's own styles: no script runs even if one got in.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #ddd; }}
@media (prefers-color-scheme: dark) {{
 :root {{ --ink: #e6e6e6; --paper: #161616; --line: #3a3a3a; }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
 padding: 0 1rem; color: var(--ink); background: var(--paper); }}
h1 {{ font-size: 1.4rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.1rem; margin-top: 2.5rem; }}
.table {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top;
 border-bottom: 1px solid var(--line); }}
/* A long name breaks anywhere, a figure beside it on a phone does not. */
td {{ overflow-wrap: anywhere; }}
td:not(.short) {{ min-width: 8rem; }}
td.short {{ white-space: nowrap; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
svg {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
{sections}
</body>
</html>
"""


def overview_section(evaluation: Evaluation) -> Section:
    text = evaluation.text
    return Section(
        title="The text",
        table=(
            ("what", "value"),
            ("source", text.source),
            ("held out by", text.rule),
            ("bytes", f"{text.bytes:,}"),
            ("SHA-256", text.sha256),
        ),
    )


def models_section(evaluation: Evaluation) -> Section:
    how = evaluation.bootstrap
    spread = (
        f"A text of {how.blocks} blocks of {how.block_bytes:,} bytes is too short for intervals."
    )
    if how.has_intervals:
        spread = (
            f"Intervals of {how.level:.0%} are over {how.blocks:,} blocks of {how.block_bytes:,} "
            f"bytes ({how.resamples:,} resamples): another text of this kind would vary so. They "
            "are not over seeds: a model trained again would vary too."
        )
    head = ("model", "bits per byte", "bits per char", "nats", "weights", "learned")
    rows = [
        (
            score.model,
            _with_interval(score.bits_per_byte, score.bits_per_byte_interval),
            _with_interval(score.bits_per_char, score.bits_per_char_interval),
            f"{score.nats:.4f}",
            f"{score.parameters:,}, {score.precision}",
            score.corpus,
        )
        for score in evaluation.models
    ]
    chart = plots.bars(_bars(evaluation), "bits per byte")
    return Section(
        title="How good",
        lead=f"The fewer the better. {spread}",
        table=(head, *rows),
        plots=(chart,),
    )


def honesty_section(evaluation: Evaluation) -> Section:
    head = (
        "model",
        "the text was held out by",
        "may have learnt it",
        "lanes",
        "outside its vocabulary",
        "which costs",
    )
    rows = [_honesty(score) for score in evaluation.models]
    return Section(
        title="What the scores rest on",
        lead="Lanes are read from an empty state each; their number follows from the text's "
        "length alone. What a model has no symbol for is in its score at the price stated.",
        table=(head, *rows),
    )


def differences_section(evaluation: Evaluation) -> Section | None:
    if not evaluation.differences:
        return None
    first = evaluation.differences[0].model
    head = ("other", "bits per byte more")
    rows = [
        (each.other, _with_interval(each.bits_per_byte, each.interval, sign=True))
        for each in evaluation.differences
    ]
    return Section(
        title="Differences, paired by block",
        lead=f"How much more than {first} each needs on the same blocks of text. An interval that "
        "holds 0 tells them apart by nothing.",
        table=(head, *rows),
    )


def compressors_section(evaluation: Evaluation) -> Section | None:
    if not evaluation.compressors:
        return None
    training = evaluation.training
    where = f"That is from {training.source}." if training else "There was no training text."
    head = ("compressor", "cold", "warm", "training text read before", "settings")
    rows = [
        (
            score.name,
            f"{score.cold_bits_per_byte:.4f}",
            _NONE if score.warm_bits_per_byte is None else f"{score.warm_bits_per_byte:.4f}",
            f"{score.train_bytes:,} bytes",
            score.settings,
        )
        for score in evaluation.compressors
    ]
    return Section(
        title="Compressors",
        lead="Bits per byte of the same text: by itself (cold), and as what it adds behind "
        f"training text (warm). {where}",
        table=(head, *rows),
    )


def ngrams_section(evaluation: Evaluation) -> Section | None:
    if not evaluation.ngrams or not evaluation.training:
        return None
    rows = [
        (str(score.n), _with_interval(score.bits_per_byte, score.interval))
        for score in evaluation.ngrams
    ]
    orders = [float(score.n) for score in evaluation.ngrams]
    figures = [score.bits_per_byte for score in evaluation.ngrams]
    levels = {score.model: score.bits_per_byte for score in evaluation.models}
    chart = plots.lines({"n-grams": (orders, figures)}, "n", "bits per byte", levels)
    return Section(
        title="N-gram models of bytes",
        lead="Interpolated by Witten and Bell's rule, counted on "
        f"{evaluation.training.ngram_bytes:,} of {evaluation.training.bytes:,} bytes of "
        f"{evaluation.training.source}. n = 1 is the unigram model.",
        table=(("n", "bits per byte"), *rows),
        plots=(chart,),
    )


def place_section(evaluation: Evaluation) -> Section | None:
    series = {}
    for score in evaluation.models:
        points = len(score.curve)
        x = [evaluation.text.bytes * (point + 0.5) / points for point in range(points)]
        series[score.model] = (x, score.curve)
    if all(len(curve) < 2 for _, curve in series.values()):
        return None
    chart = plots.lines(series, "byte of the text", "bits per byte")
    return Section(title="Along the text", plots=(chart,))


# A part of the report is a line here.
SECTIONS: list[Callable[[Evaluation], Section | None]] = [
    overview_section,
    models_section,
    differences_section,
    honesty_section,
    compressors_section,
    ngrams_section,
    place_section,
]


def sections(evaluation: Evaluation) -> list[Section]:
    """All parts that have something to say."""
    found = [make(evaluation) for make in SECTIONS]
    own = [section for section in found if section is not None]
    return own + [section for study in evaluation.studies for section in study.sections]


def page(title: str, parts: list[Section]) -> str:
    """The HTML of a report."""
    number = 0
    rendered = []
    for part in parts:
        pictures = []
        for plot in part.plots:
            number += 1
            pictures.append(_inline(plot, number))
        rendered.append(_rendered(part, pictures))
    return _PAGE.format(title=escaped(title), sections="\n".join(rendered))


def escaped(text: str) -> str:
    """A text as HTML shows it: what would be obeyed is spelled out."""
    return html.escape(_CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text))


def _rendered(part: Section, pictures: list[str]) -> str:
    pieces = [f"<section>\n<h2>{escaped(part.title)}</h2>"]
    if part.lead:
        pieces.append(f"<p>{escaped(part.lead)}</p>")
    if part.excerpt:
        # HTML takes a line feed right behind <pre> for none.
        pieces.append(f"<pre>\n{escaped(part.excerpt)}</pre>")
    if part.table:
        head, *rows = part.table
        lines = [f"<tr>{''.join(f'<th>{escaped(cell)}</th>' for cell in head)}</tr>"]
        lines += [f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows]
        pieces.append('<div class="table"><table>\n' + "\n".join(lines) + "\n</table></div>")
    links = [f'<p><a href="{escaped(to)}">{escaped(title)}</a></p>' for title, to in part.links]
    return "\n".join([*pieces, *pictures, *links, "</section>"])


def _cell(text: str) -> str:
    # A figure is not broken in two; a path or a piece of a corpus may be.
    kind = ' class="short"' if len(text) <= _SHORT else ""
    return f"<td{kind}>{escaped(text)}</td>"


def _inline(svg: str, number: int) -> str:
    """An SVG document as an element of a page, its ids apart from those of other pictures."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r'\bid="', f'id="p{number}-', element)
    element = element.replace("url(#", f"url(#p{number}-")
    return element.replace('href="#', f'href="#p{number}-')


def _bars(evaluation: Evaluation) -> list[Bar]:
    rows = []
    for score in evaluation.models:
        ends = score.bits_per_byte_interval
        rows.append(Bar(score.model, score.bits_per_byte, *_ends(ends)))
    for each in evaluation.compressors:
        rows.append(Bar(f"{each.name}, cold", each.cold_bits_per_byte))
        if each.warm_bits_per_byte is not None:
            rows.append(Bar(f"{each.name}, warm", each.warm_bits_per_byte))
    best = evaluation.best_ngram
    if best:
        rows.append(Bar(f"{best.n}-gram", best.bits_per_byte, *_ends(best.interval)))
        unigram = evaluation.ngrams[0]
        rows.append(Bar("unigram", unigram.bits_per_byte, *_ends(unigram.interval)))
    return rows


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def _honesty(score: ModelScore) -> tuple[str, ...]:
    unknown = score.unknown
    share = f"{unknown.symbols:,} symbols, {unknown.bytes:,} bytes"
    cost = f"{unknown.bits:,.0f} bits: {unknown.price}" if unknown.symbols else _NONE
    learnt = score.may_have_learnt or "no"
    return (score.model, score.rule, learnt, str(score.lanes), share, cost)


def _with_interval(figure: float, interval: Interval | None, *, sign: bool = False) -> str:
    form = "+.4f" if sign else ".4f"
    shown = f"{figure:{form}}"
    if interval is None:
        return shown
    return f"{shown} [{interval.low:{form}}, {interval.high:{form}}]"
