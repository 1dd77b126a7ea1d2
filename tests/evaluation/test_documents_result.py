"""The result as JSON and as a part of a report."""

from __future__ import annotations

import json

from pipeline.evaluation.documents_result import DocumentsResult, WorstDocument, section
from pipeline.evaluation.report import page

RESULT = DocumentsResult(
    url="file:///out/documents.parquet",
    model="c version 3",
    text="val of c@0123",
    precision="fp32",
    window=32,
    rows=1020,
    bytes=2_000_000,
    symbols=1_900_000,
    unknown=7,
    bits_per_byte=1.25,
    worst=(
        WorstDocument(
            path="<script>alert(1)</script>.c",
            split="val",
            bytes=1234,
            bits_per_byte=7.5,
            surprise=12.34,
            unknown=7,
            span="<img onerror=x>" + "y" * 100,
            span_offset=56_789,
            span_nats=8.25,
        ),
    ),
    digest="d" * 64,
    sha256="e" * 64,
)


def test_a_result_comes_back_from_json() -> None:
    assert DocumentsResult.from_json(json.loads(json.dumps(RESULT.to_json()))) == RESULT


def test_a_report_names_the_worst_and_is_not_harmed_by_them() -> None:
    made = section(RESULT)
    assert made.table[1][:5] == (
        "<script>alert(1)</script>.c (val)",
        "1,234",
        "7.500",
        "+12.3",
        "7",
    )
    assert made.table[1][5] == RESULT.worst[0].span[:80]
    assert {len(row) for row in made.table} == {7}
    assert "1,020 documents of val of c@0123" in made.lead
    html = page("documents", [made])
    assert "<img onerror" not in html
    assert "<script>alert(1)" not in html
