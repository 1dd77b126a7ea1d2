"""What a person reads when a recipe has run to its end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from pipeline.corpora.build import BuildResult
from pipeline.corpora.manifest_data import TextBytes
from pipeline.hints import command
from pipeline.reproducing.claims import judge, read_claims
from pipeline.reproducing.lineage import Step
from pipeline.reproducing.report import EXCERPT_LINES, report
from pipeline.reproducing.result import Reproduction
from pipeline.sampling.job import SampleResult
from pipeline.training.finishing import TrainedRun


def reproduction(folder: Path, text: bytes) -> Reproduction:
    (folder / "sample-00000.txt").write_bytes(text)
    (folder / "samples.jsonl").write_text(json.dumps({"file": "sample-00000.txt"}) + "\n{}\n")
    built = BuildResult(
        corpus="mine",
        version="0123456789ab",
        url="/root/corpora/mine/0123456789ab",
        built=True,
        documents=1,
        skipped=0,
        bytes=TextBytes(source=9, skipped=0, normalised_away=0, text=9, separators=0),
        tokens={"train": 9, "val": 0, "test": 0},
        vocab_size=3,
        seconds=1.0,
    )
    trained = TrainedRun(
        run_id="r",
        run="/root/runs/r",
        tracking_uri="sqlite:////root/mlflow.db",
        model="models:/mine/3",
    )
    sampled = SampleResult(
        output=str(folder),
        model="models:/mine/3",
        precision="int8",
        files=1,
        chars=9,
        mean_nats=1.0,
        written=1,
        chars_per_sec=None,
        samples=str(folder / "samples.jsonl"),
    )
    return Reproduction(
        recipe="mine",
        root="/root",
        built=built,
        trained=trained,
        sampled=sampled,
        bits_per_byte={"model": 1.72346, "xz": 1.7387},
        seconds={"train": 3.0},
        report="/root/reproductions/mine-1/report.html",
    )


def test_it_shows_an_excerpt_figures_places_and_the_next_commands(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(30)]
    said = report(reproduction(tmp_path, "\n".join(lines).encode()))
    assert "line 0" not in said  # a sample may begin in the middle of a line
    shown = [line for line in said.splitlines() if line.startswith("    line ")]
    assert shown == [f"    line {number}" for number in range(1, EXCERPT_LINES + 1)]
    assert "model 1.723   xz 1.739" in said
    for place in (
        "/root/corpora/mine/0123456789ab",
        "/root/runs/r",
        "models:/mine/3",
        "/mine-1/report.html",
    ):
        assert place in said
    assert f"{command('sample')} --root /root --model models:/mine/3" in said
    assert "mlflow ui --backend-store-uri sqlite:////root/mlflow.db" in said


def test_text_that_is_no_utf_8_is_shown_all_the_same(tmp_path: Path) -> None:
    assert "    \ufffdb" in report(reproduction(tmp_path, b"a\n\xffb\nc"))


def test_claims_and_what_is_broken_have_a_line_each(tmp_path: Path) -> None:
    def claim(name: str, limit: float, must: bool = True) -> dict[str, object]:
        path = "baselines.xz"
        given = {"name": name, "measured": path, "comparison": "below", "expected": limit}
        return {**given, "must": must}

    claims = read_claims([claim("low", 2.0), claim("lower", 1.0), claim("lowest", 0, False)], "m")
    done = dataclasses.replace(
        reproduction(tmp_path, b"a\nb"),
        judged=judge(claims, {"baselines": {"xz": 1.73871}}),
        steps=(Step("run", "/run", "d"), Step("sample", "/s", "d", broken="another file")),
    )
    lines = report(done).splitlines()
    assert [line for line in lines if line.startswith("  ") and line[2] != " "] == [
        "  holds         low: 1.739, below 2",
        "  FAILS (gate)  lower: 1.739, below 1",
        "  fails         lowest: 1.739, below 0",
        "  BROKEN        sample: another file",
    ]
