"""What a recipe's line of JSON and its record say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipeline.reproducing.claims import judge, read_claims
from pipeline.reproducing.lineage import Step
from tests.reproducing.test_report import reproduction


def test_the_json_line_has_the_figures_rounded_and_the_places(tmp_path: Path) -> None:
    done = reproduction(tmp_path, b"a\nb")
    assert done.to_json() == {
        "recipe": "mine",
        "root": "/root",
        "corpus": "/root/corpora/mine/0123456789ab",
        "model": "models:/mine/3",
        "samples": str(tmp_path / "samples.jsonl"),
        "val_bits_per_byte": {"model": 1.7235, "xz": 1.7387},
        "seconds": {"train": 3.0},
        "claims": {},
        "failed": [],
        "pages": {},
        "report": "/root/reproductions/mine-1/report.html",
    }


def test_failed_gates_and_broken_steps_are_an_exit_status(tmp_path: Path) -> None:
    given = {
        "name": "a gate",
        "measured": "baselines.xz",
        "comparison": "below",
        "expected": 1,
        "must": True,
    }
    judged = judge(read_claims([given], "mine"), {"baselines": {"xz": 1.7}})
    steps = (Step("run", "/run", "d"), Step("sample a", "/a", "d", broken="another file"))
    done = dataclasses.replace(reproduction(tmp_path, b"a\nb"), judged=judged, steps=steps)
    value = done.to_json()
    assert value["claims"] == {"a gate": "fails"}
    assert (value["failed"], value["exit_status"]) == (["a gate", "sample a: another file"], 1)
    record = done.record()
    assert record["format"] == 1
    assert record["claims"] == [each.to_json() for each in judged]
    assert record["lineage"] == [each.to_json() for each in steps]
