"""The page of a text: a model's predictions and every unit's state at every character, as one HTML
file, with the model itself.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pipeline.corpora.vocab import Vocab
from pipeline.errors import InputError
from pipeline.evaluation.section import Section
from pipeline.explaining import page_parts
from pipeline.explaining.page_gates import saturation
from pipeline.explaining.page_text import CHECKPOINT, PageText
from pipeline.explaining.play import check_size, described, facts, play_sections, worker_script
from pipeline.model.about import PrecisionCheck
from pipeline.model.artifact import ModelArtifact, parse_vocab

BINS = 51  # of a histogram of hidden states: five int8 values each, the middle one around 0
MAX_HIDDEN = 64 << 20  # bytes of hidden states


def text_page(
    text: PageText,
    model: ModelArtifact,
    *,
    cost: PrecisionCheck | None = None,
    temperature: float = 0.8,
) -> bytes:
    """The page of a text as a model read it, as UTF-8. Raises InputError where it would be too
    large.
    """
    check_size(model.about.model)
    if text.hidden.nbytes > MAX_HIDDEN:
        raise InputError(
            f"{text.title}: {text.hidden.nbytes:,} bytes of hidden states; "
            f"a page may hold {MAX_HIDDEN:,}. Give a shorter text."
        )
    if not text.saturation:
        text = dataclasses.replace(text, saturation=saturation(model, text))
    about, weights = described(model)
    vocab = parse_vocab(model.files, model.uri)
    script = page_parts.source("model.js", "data.js", "colours.js", "play.js", *_TEXT_SCRIPTS)
    style = page_parts.source("play.css", "text.css")
    # The small blocks stand before the script, the large ones behind it: the text is painted while
    # these are still being read.
    before = [
        page_parts.json_block("about", about),
        page_parts.json_block("read", _described(text, vocab)),
        page_parts.text_block("worker", worker_script()),
    ]
    after = [
        page_parts.bytes_block("weights", weights),
        page_parts.bytes_block("cells", text.cells.astype("<f4").tobytes()),
        *(page_parts.bytes_block(f"hidden-{at}", layer.tobytes()) for at, layer in _layers(text)),
    ]
    page = page_parts.filled(
        page_parts.source("text.html"),
        {
            "policy": page_parts.policy(script, style),
            "title": page_parts.escaped(text.title),
            "model": page_parts.escaped(f"{model.name} {model.version}"),
            "style": page_parts.style_block(style),
            "play": play_sections(temperature, palette=""),
            "palette": page_parts.source("palette.html"),
            "sections": "\n".join(map(_section, text.sections)),
            "facts": page_parts.table_rows(facts(model, cost)),
            "before": "\n".join(before),
            "script": page_parts.script_block(script),
            "after": "\n".join(after),
        },
    )
    return page.encode()


_TEXT_SCRIPTS = ("gates.js", "rows.js", "plots.js", "text.js")


def labels(vocab: Vocab) -> list[str]:
    """How each token is called in the page: its character; a byte above ASCII in hexadecimal."""
    names = []
    for symbol in vocab.symbols:
        if symbol is None:
            names.append("\ufffd")
        elif vocab.unit == "byte" and symbol >= 128:
            names.append(f"{symbol:02x}")
        else:
            names.append(chr(symbol))
    return names


def histograms(hidden: np.ndarray) -> list[list[int]]:
    """Of each layer's states (L, H, T), in BINS of equal width from -1 to 1."""
    edges = np.linspace(-127.5, 127.5, BINS + 1)
    return [np.histogram(layer, edges)[0].tolist() for layer in hidden]


def _layers(text: PageText) -> list[tuple[int, np.ndarray]]:
    return [(at, np.ascontiguousarray(layer)) for at, layer in enumerate(text.hidden)]


def _described(text: PageText, vocab: Vocab) -> dict[str, Any]:
    """What script/text.js reads."""
    nats = np.where(np.isfinite(text.nats), text.nats, -1)  # JSON has no nan
    return {
        "labels": labels(vocab),
        "tokens": text.tokens.tolist(),
        "top_tokens": text.top_tokens.tolist(),
        # Per mille: the page shows no more digits, and the file is a third smaller.
        "top_mille": np.rint(text.top_probabilities * 1000).astype(int).tolist(),
        "nats": [round(float(value), 4) for value in nats],
        "checkpoint": CHECKPOINT,
        "has_cells": bool(len(text.cells)),
        "saturation": [
            {
                "gate": row.gate,
                "layer": row.layer,
                "left": [round(float(value), 4) for value in row.left],
                "right": [round(float(value), 4) for value in row.right],
            }
            for row in text.saturation
        ],
        "histograms": histograms(text.hidden),
        "findings": [finding.to_json() for finding in text.findings],
    }


def _section(section: Section) -> str:
    """A section as HTML: its plots are SVG of our own, all else is text."""
    head, *rows = section.table or ((),)
    cells = "".join(f'<th scope="col">{page_parts.escaped(cell)}</th>' for cell in head)
    lines = [
        "<tr>" + "".join(f"<td>{page_parts.escaped(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    ]
    table = f'<div class="table"><table><tr>{cells}</tr>{"".join(lines)}</table></div>'
    title = f"<h2>{page_parts.escaped(section.title)}</h2>"
    lead = f"<p>{page_parts.escaped(section.lead)}</p>" if section.lead else ""
    return f"<section>{title}{lead}{table if head else ''}{''.join(section.plots)}</section>"
