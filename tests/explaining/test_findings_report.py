"""Findings as parts of the page."""

from __future__ import annotations

import math

from pipeline.evaluation.intervals import Interval
from pipeline.explaining.ablation import Ablation
from pipeline.explaining.cells import CellFindings
from pipeline.explaining.findings import Finding, LabelResult
from pipeline.explaining.findings_report import page_findings, sections
from pipeline.explaining.named import NamedRow

FINDING = Finding(
    layer=1,
    unit=7,
    signal="cell",
    label="inside quotes",
    kind="binary",
    sign=-1,
    first_effect=0.9,
    effect=0.875,
    interval=Interval(0.85, 0.9),
    p=0.0004,
    ngram=0.7,
    untrained=0.6,
    counts=True,
)
LABEL = LabelResult(
    label="inside quotes",
    kind="binary",
    mean=0.125,
    ngram=0.7,
    untrained=0.6,
    units=1,
    best=FINDING,
)
ABLATION = Ablation(
    layer=1,
    unit=7,
    label="inside quotes",
    tokens=1000,
    tracked_tokens=100,
    tracked=0.05,
    elsewhere=0.01,
    random_tracked=(0.0, 0.02, 0.06),
    random_elsewhere=(0.0, 0.0, 0.0),
    as_large=1 / 3,
)
FOUND = CellFindings(
    model="m",
    version="1",
    text="val of texts@1",
    kind="prose",
    tokens=2000,
    first_half=1000,
    second_half=1000,
    units=40,
    found_units=2,
    share=0.05,
    definition="A unit counts if it does.",
    rows=(FINDING,),
    named=(
        NamedRow("quotes", "found", "inside quotes", FINDING, "t"),
        NamedRow("www", "no such label", "www run", None, "t"),
    ),
    labels=(LABEL,),
    too_rare=("www run",),
    ablations=(ABLATION,),
    saturations=(),
    histograms=(),
)


def test_the_share_says_by_which_definition() -> None:
    share, *_ = sections(FOUND)
    assert share.lead.startswith("2 of 40 units (5.0%) on val of texts@1")
    assert share.lead.endswith(FOUND.definition)


def test_every_cell_of_the_post_has_a_row() -> None:
    named = sections(FOUND)[1]
    assert named.table[1:] == (
        ("quotes", "found", "1:7", "0.875 [0.850, 0.900]", "0.700", "0.600", "0.0004"),
        ("www", "no such label", "-", "-", "-", "-", "-"),
    )


def test_labels_and_the_causal_check() -> None:
    _, _, labels, ablations = sections(FOUND)
    assert labels.table[1][:4] == ("inside quotes", "12.5%", "1", "1:7")
    assert "Too rare to tell: www run." in labels.lead
    assert ablations.table[1] == (
        "inside quotes",
        "1:7",
        "+0.0500 (100 symbols)",
        "+0.0100",
        "+0.0200 (median of 3)",
        "33%",
    )


def test_a_row_of_the_pages_table() -> None:
    (row,) = page_findings(FOUND)
    assert (row.label, row.layer, row.unit, row.measure) == ("inside quotes", 1, 7, "AUROC, cell")
    assert (row.low, row.high) == (0.85, 0.9)
    assert "n-grams 0.70" in row.note
    import dataclasses

    bare = dataclasses.replace(FOUND, rows=(dataclasses.replace(FINDING, interval=None),))
    assert math.isnan(page_findings(bare)[0].low)
