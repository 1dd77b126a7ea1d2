"""What a person reads when a recipe has run to its end."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.corpora.build import BuildResult
from pipeline.corpora.manifest_data import TextBytes
from pipeline.hints import command
from pipeline.reproducing.report import EXCERPT_LINES, report
from pipeline.reproducing.stages import Reproduction
from pipeline.sampling.job import SampleResult
from pipeline.training.run import TrainedRun


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
    )


def test_it_shows_an_excerpt_figures_places_and_the_next_commands(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(30)]
    said = report(reproduction(tmp_path, "\n".join(lines).encode()))
    assert "line 0" not in said  # a sample may begin in the middle of a line
    shown = [line for line in said.splitlines() if line.startswith("    line ")]
    assert shown == [f"    line {number}" for number in range(1, EXCERPT_LINES + 1)]
    assert "model 1.723   xz 1.739" in said
    for place in ("/root/corpora/mine/0123456789ab", "/root/runs/r", "models:/mine/3"):
        assert place in said
    assert f"{command('sample')} --root /root --model models:/mine/3" in said
    assert "mlflow ui --backend-store-uri sqlite:////root/mlflow.db" in said


def test_text_that_is_no_utf_8_is_shown_all_the_same(tmp_path: Path) -> None:
    assert "    \ufffdb" in report(reproduction(tmp_path, b"a\n\xffb\nc"))


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
    }
