from __future__ import annotations

import json
from typing import Any

from pipeline.explaining.findings import Finding, Found, LabelResult
from pipeline.explaining.labels.by_kind import labels_of
from pipeline.explaining.named import NAMED, named_rows
from pipeline.recipes import KINDS


def result(label: str, kind: Any, effect: float, counts: bool) -> LabelResult:
    finding = Finding(
        layer=0,
        unit=5,
        signal="hidden",
        label=label,
        kind=kind,
        sign=1,
        first_effect=effect,
        effect=effect,
        interval=None,
        p=0.01,
        ngram=0.6,
        untrained=0.6,
        counts=counts,
    )
    return LabelResult(
        label=label, kind=kind, mean=0.1, ngram=0.6, untrained=0.6, units=1, best=finding
    )


FOUND = Found(
    first_half=10,
    second_half=10,
    findings=(),
    labels=(
        result("inside quotes", "binary", 0.9, True),
        result("before a newline", "binary", 0.62, False),
        result("bracket depth", "real", 0.9, True),
        result("indentation", "real", 0.65, False),
    ),
    too_rare=("inside an if-condition",),
)


def test_each_of_the_post_s_cells_has_a_row() -> None:
    rows = {row.name: row for row in named_rows(FOUND, "a text")}
    assert list(rows) == [cell.name for cell in NAMED]
    assert rows["quotes"].verdict == "found"
    assert rows["quotes"].best is not None
    assert rows["newline predictor"].verdict == "not found"
    assert rows["if statement"].verdict == "too rare"
    assert (rows["www"].verdict, rows["www"].best) == ("no such label", None)
    assert {row.text for row in rows.values()} == {"a text"}
    assert json.dumps([row.to_json() for row in rows.values()])


def test_of_several_labels_the_one_that_counts_is_taken() -> None:
    (row,) = [row for row in named_rows(FOUND, "") if row.name == "depth"]
    assert (row.label, row.verdict) == ("bracket depth", "found")


def test_every_label_of_the_table_is_some_kind_s() -> None:
    names = {label.name for kind in KINDS for label in labels_of(b"a\n", kind, "byte")}
    assert {label for cell in NAMED for label in cell.labels} <= names
