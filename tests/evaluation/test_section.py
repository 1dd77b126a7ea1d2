"""A part of a report as JSON."""

from __future__ import annotations

from pipeline.evaluation.section import Section


def test_a_section_is_its_words_and_its_table() -> None:
    section = Section(title="Loss", lead="In nats.", table=(("text", "nats"), ("val", "1.5")))
    assert section.to_json() == {
        "title": "Loss",
        "lead": "In nats.",
        "table": [["text", "nats"], ["val", "1.5"]],
    }
    assert Section(title="Nothing").to_json() == {"title": "Nothing", "lead": "", "table": []}
