"""What a study hands on."""

from __future__ import annotations

from pipeline.evaluation.section import Section
from pipeline.evaluation.study import Study


def test_a_study_has_its_figures_its_sections_and_its_key() -> None:
    study = Study("loss", {"nats": 1.0}, (Section(title="Loss"),), {"nats": 1.0})
    assert study.found["nats"] == study.key["nats"]
    assert [section.title for section in study.sections] == ["Loss"]
