"""What was found, summed by group and shown."""

from __future__ import annotations

import json

from pipeline.evaluation.memory import Memory, NewShare, Remembered, Span, by_group, section


def text(name: str, group: str, covered: int, length: int) -> Remembered:
    span = Span(start=1, length=length, place=5, path="a.c", offset=7, text="<b>int")
    shares = (NewShare(n=8, new=covered, total=80), NewShare(n=200, new=0, total=0))
    return Remembered(
        name=name, group=group, symbols=100, covered=covered, ngrams=shares, longest=(span,) * 2
    )


TEXTS = [text("a", "0.5", 40, 33), text("b", "val", 5, 35), text("c", "0.5", 20, 90)]


def test_a_group_is_the_sum_of_its_texts() -> None:
    groups = by_group(TEXTS)
    assert [group.group for group in groups] == ["0.5", "val"]
    first = groups[0]
    assert (first.name, first.symbols, first.covered) == ("2 texts", 200, 60)
    assert first.ngrams[0] == NewShare(n=8, new=60, total=160)
    assert first.ngrams[0].share == 0.375
    assert first.ngrams[1].share == 0.0
    assert [span.length for span in first.longest] == [90, 90, 33]


def test_the_report_has_groups_side_by_side_and_the_longest_span_of_each() -> None:
    memory = Memory(
        corpus="c@1",
        split="train",
        tokens=9,
        shortest=32,
        texts=tuple(TEXTS),
        groups=by_group(TEXTS),
    )
    shown = section(memory)
    assert shown.table[:3] == (
        ("texts", "symbols", "in spans of 32+", "new 8-grams", "new 200-grams"),
        ("0.5", "200", "30.0%", "37.5%", "-"),
        ("val", "100", "5.0%", "6.2%", "-"),
    )
    assert shown.table[3] == ("longest, 0.5", "90", "a.c:7", "<b>int", "")
    assert len({len(row) for row in shown.table}) == 1
    value = json.loads(json.dumps(memory.to_json()))
    assert value["groups"][0]["longest"][0]["path"] == "a.c"
    assert value["texts"][2]["ngrams"][0] == {"n": 8, "new": 20, "total": 80}
