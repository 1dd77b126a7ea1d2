"""The report of a recipe as a page: what it shows, what it leaves out, and hostile text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pipeline.reproducing import page
from pipeline.reproducing.claims import judge, read_claims
from pipeline.reproducing.lineage import Step
from pipeline.reproducing.result import Reproduction
from tests.reproducing.test_report import reproduction

HOSTILE = "<script>alert(1)</script>"


def check(name: str, share: float | None) -> dict[str, Any]:
    return {"name": name, "share": share}


EVIDENCE: dict[str, Any] = {
    "baselines": {"xz": 1.7387},
    "evaluation": {
        "text": {"bytes": 5000, "source": "val of mine", "rule": "tail"},
        "models": [
            {"model": HOSTILE, "bits_per_byte": 1.6123, "bits_per_byte_interval": None},
            {
                "model": "other",
                "bits_per_byte": 1.7,
                "bits_per_byte_interval": {"low": 1.6, "high": 1.8},
            },
        ],
        "compressors": [{"name": "xz", "cold_bits_per_byte": 1.9}],
        "ngrams": [{"n": 1, "bits_per_byte": 4.7}, {"n": 6, "bits_per_byte": 1.71}],
        "studies": {
            "structure": {
                "groups": [
                    {
                        "temperature": 0.7,
                        "samples": {"checks": [check("parses", 0.25), check("loops", None)]},
                        "control": {"checks": [check("parses", 1.0)]},
                    }
                ]
            },
            "memory": {
                "groups": [
                    {"group": "val", "symbols": 200, "covered": 50, "longest": [{"length": 41}]}
                ]
            },
        },
    },
    "explanation": {
        "units": 8,
        "found_units": 1,
        "named": [{"name": "quotes", "verdict": "found"}],
        "rows": [
            {
                "layer": 0,
                "unit": 5,
                "signal": "cell",
                "label": "inside quotes",
                "effect": 0.91234,
                "ngram": 0.6,
                "untrained": 0.7,
            }
        ],
    },
    "evolution": {"milestones": [{"name": "spaces", "reached": 300, "needed": "a share"}]},
}


def done_of(folder: Path, evidence: dict[str, Any]) -> Reproduction:
    given = {
        "name": "better than xz",
        "measured": "evaluation.models[0].bits_per_byte",
        "comparison": "below",
        "expected": "baselines.xz",
        "post": HOSTILE,
        "must": True,
    }
    return dataclasses.replace(
        reproduction(folder, b"def f():\n    <script>second</script>\n"),
        evidence=evidence,
        judged=judge(read_claims([given], "mine"), evidence),
        pages={"The model": f"{folder}/explanations/m/play.html", "Elsewhere": "s3://b/x.html"},
        steps=(Step("source", HOSTILE, "0123"),),
    )


def test_every_part_is_there_and_all_text_is_escaped(tmp_path: Path) -> None:
    folder = f"{tmp_path}/reproductions/mine-1"
    url = page.write(done_of(tmp_path, EVIDENCE), folder)
    html = Path(url).read_text()
    assert "<script" not in html
    # Indentation is kept, and nothing of a text is obeyed.
    assert "<pre>\ndef f():\n    &lt;script&gt;second&lt;/script&gt;</pre>" in html
    for title in (
        "Claims",
        "Pages",
        "A sample",
        "Scores",
        "How well its samples are made",
        "What its samples repeat of training text",
        "Cells that mean something",
        "What it learned when",
        "Time",
        "Where it comes from",
    ):
        assert f"<h2>{title}</h2>" in html
    assert '<a href="../../explanations/m/play.html">The model</a>' in html
    assert '<a href="s3://b/x.html">Elsewhere</a>' in html
    for row in (
        ("parses", "0.7", "0.25", "1"),
        ("loops", "0.7", "-", "-"),
        ("val", "200", "25.00%", "41"),
        ("0.5", "cell", "inside quotes", "0.9123", "0.7"),
        ("spaces", "300", "a share"),
        ("6-gram", "1.7100"),
        ("better than xz", "1.612", "below 1.739", "holds (gate)"),
    ):
        assert "".join(f'<td class="short">{cell}</td>' for cell in row) in html
    assert "<svg" in html
    record = json.loads(Path(folder, page.RECORD).read_text())
    assert record["claims"][0]["verdict"] == "holds"
    assert record["lineage"][0]["where"] == HOSTILE


def test_a_recipe_that_stopped_after_its_samples_has_a_shorter_page(tmp_path: Path) -> None:
    done = dataclasses.replace(reproduction(tmp_path, b"a\nb"), pages={}, steps=())
    titles = [each.title for each in page.sections(done, f"{tmp_path}/r")]
    assert titles == ["A sample", "Time"]


def test_gates_that_fail_are_counted(tmp_path: Path) -> None:
    evidence = {**EVIDENCE, "baselines": {"xz": 1.0}}
    first, *_ = page.sections(done_of(tmp_path, evidence), f"{tmp_path}/r")
    assert first.lead.startswith("1 gates fail. ")
    assert first.table[1][3] == "fails (gate)"
