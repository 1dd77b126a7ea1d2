"""What checks say: shares, places, and how many of them are kept."""

from __future__ import annotations

import json

import pytest

from pipeline.evaluation.structure.findings import (
    FINDINGS,
    Check,
    Figure,
    Found,
    KindReport,
    Tally,
    excerpt,
    joined,
    median,
)


def test_a_tally_counts_what_holds_and_keeps_where_it_does_not() -> None:
    tally = Tally("x")
    tally.holds(2)
    tally.fails("a.txt", 7, "bad", b"text")
    tally.note("a.txt", 9, "noted", b"more")
    check = tally.done()
    assert (check.count, check.out_of, check.share) == (2, 3, 2 / 3)
    assert [(each.file, each.offset, each.kind, each.text) for each in check.findings] == [
        ("a.txt", 7, "bad", "text"),
        ("a.txt", 9, "noted", "more"),
    ]


def test_a_text_of_faults_alone_fills_no_memory() -> None:
    tally = Tally("x")
    for offset in range(FINDINGS + 50):
        tally.fails("a", offset, "bad", b"x" * 10_000)
    check = tally.done()
    assert check.out_of == FINDINGS + 50
    assert len(check.findings) == FINDINGS
    assert max(len(each.text) for each in check.findings) == 80


def test_no_case_has_no_share() -> None:
    assert Check(name="x", count=0, out_of=0).share is None
    assert (median([]), median([1, 2, 9])) == (None, 2.0)


def test_an_excerpt_is_one_line_that_any_terminal_can_show() -> None:
    assert excerpt(b"a\nb\tc\x00\x1b[31m\xff") == "a\\nb\\tc\\0\N{REPLACEMENT CHARACTER}[31m\\xff"


def test_a_report_is_json_and_is_asked_by_name() -> None:
    check = Check(name="x", count=1, out_of=2)
    parts = [Found(checks=(check,), notes=("n",)), Found(figures=(Figure(name="y", value=1.5),))]
    found = joined(parts)
    report = KindReport(
        kind="c", bytes=3, files=1, checks=found.checks, figures=found.figures, notes=found.notes
    )
    assert report.check("x") is check
    assert report.figure("y") == 1.5
    for name in (report.check, report.figure):
        with pytest.raises(KeyError, match="z"):
            name("z")
    parsed = json.loads(json.dumps(report.to_json()))
    assert parsed["checks"][0]["share"] == 0.5
    assert (parsed["figures"], parsed["notes"]) == ([{"name": "y", "value": 1.5}], ["n"])
