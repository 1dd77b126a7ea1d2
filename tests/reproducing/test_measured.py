"""Paths of claims: where they lead, and what is no path."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.reproducing.measured import measured, root_of, steps

EVIDENCE: dict[str, Any] = {
    "evaluation": {
        "models": [{"bits_per_byte": 1.6}],
        "compressors": [{"name": "xz", "cold": 1.9}, {"name": "PPMd", "cold": 1.5}],
        "ngrams": [{"n": 1, "bits": 4.7}, {"n": 7, "bits": 1.66}, {"n": 8, "bits": 1.7}, {"n": 9}],
        "groups": [{"temperature": 0.5, "a": 1}, {"temperature": None, "a": 2}],
        "checks": [{"name": "[deep] names, of 1.5 kinds", "share": 0.9}],
        "lone": None,
    },
    "evolution": {"reached": {"words of up to 4 letters": 300}},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("evaluation.models[0].bits_per_byte", 1.6),
        ("evaluation.models[-1].bits_per_byte", 1.6),
        ("evaluation.compressors[name=PPMd].cold", 1.5),
        ("evaluation.ngrams[least bits].n", 7),
        ("evaluation.ngrams[most bits].n", 1),
        ("evaluation.groups[temperature=0.50].a", 1),
        ("evaluation.groups[temperature=None].a", 2),
        ("evolution.reached[words of up to 4 letters]", 300),
        ("evaluation.models[1].bits_per_byte", None),
        ("evaluation.models[-2].bits_per_byte", None),
        ("evaluation.compressors[name=zip].cold", None),
        ("evaluation.groups[temperature=warm].a", None),
        ("evaluation.ngrams[least cost].n", None),
        ("evaluation.ngrams[nearest bits].n", None),
        ("evaluation.models.bits_per_byte", None),
        ("evaluation.lone.deeper[0]", None),
        ("explanation.found_units", None),
    ],
)
def test_a_path_leads_to_its_figure_or_to_none(path: str, found: Any) -> None:
    assert measured(path, EVIDENCE) == found


def test_names_in_brackets_may_hold_dots_and_spaces() -> None:
    path = "evaluation.checks[name=names, of 1.5 kinds].share"
    assert steps(path) == ["evaluation", "checks", "[name=names, of 1.5 kinds", "share"]


def test_a_path_says_which_evidence_it_needs() -> None:
    assert root_of("explanation.found_units") == "explanation"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("report.models", "'report.models' begins with none of corpus, training"),
        ("", "'' begins with none of"),
        ("evaluation..models", "is no path from '..models' on"),
        ("evaluation.models[0", r"is no path from '\[0' on; write KEY.KEY"),
        ("evaluation models", "is no path from ' models' on"),
    ],
)
def test_what_is_no_path_is_refused(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        root_of(path)
