"""The evaluation job as a person runs it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.evaluation import proof
from pipeline.registry.fetch import fetch_model
from pipeline.tasks import Runner, run_here
from tests.jobs.conftest import Run
from tests.registering import checkpoint


@pytest.fixture(scope="module")
def home(root: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "corpora").symlink_to(Path(root, "corpora"))
    return str(folder)


@pytest.fixture(scope="module")
def model(home: str) -> str:
    return checkpoint(home, 8)


def test_its_last_line_says_how_good_and_where_the_report_is(
    home: str, model: str, run: Run, no_ray: None, corpus: Corpus
) -> None:
    quick = ["--max_bytes", "20k", "--warm_bytes", "20k", "--ngram_bytes", "20k"]
    done = run("evaluate", "--root", home, "--model", model, *quick)
    found = done.result
    (score,) = found["models"]
    assert 5 < score["bits_per_byte"] < 8
    assert score["rule"].startswith("block: ")
    assert found["text"]["source"] == f"val of texts@{corpus.version}"
    assert [each["name"] for each in found["compressors"]] == ["xz", "zstd", "ppmd"]
    assert len(found["ngrams"]) == 20
    report = Path(found["report"])
    assert report.parent.parent == Path(home, "evaluations")
    assert report.read_text().startswith("<!DOCTYPE html>")
    written = json.loads(Path(found["report_json"]).read_text())
    assert written["models"][0]["bits_per_byte"] == score["bits_per_byte"]
    assert done.log[-1] == f"report: {report}"


def test_several_workers_are_rays(
    home: str, model: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def ray_runner(num_workers: int) -> Runner:
        asked.append(num_workers)
        return run_here

    monkeypatch.setattr("pipeline.tasks.ray_runner", ray_runner)
    monkeypatch.setattr("cluster.connect.ray_session", lambda **_: contextlib.nullcontext())
    monkeypatch.setattr("cluster.connect.node_count", lambda: 1)
    settings: list[Any] = ["--root", home, "--model", model, "--max_bytes", 5000]
    settings += ["--baselines", "false"]
    alone = run("evaluate", *settings).result
    assert asked == []
    assert run("evaluate", *settings, "--num_workers", 2).result == alone
    assert asked == [2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "models:/nobody@champion"], "no model 'models:/nobody@champion'"),
        (["--model", "/nowhere/at/all"], "no complete checkpoint at /nowhere/at/all"),
        (["--models", "/nowhere/at/all"], "no complete checkpoint at /nowhere/at/all"),
        (["--text", "/nowhere/a.txt"], "cannot read text /nowhere/a.txt"),
        (["--text", "/dev/null"], "text /dev/null is empty"),
        (["--split", "dev"], "split is 'dev'"),
        (["--split", "test"], "is empty; there is nothing to score"),
        (["--split", "val", "--text", "/dev/null"], "text and split are both given"),
        (["--corpus", "nobody"], "no corpus 'nobody'"),
        (["--precision", "int4"], "precision is 'int4'"),
        (["--max_order", "99"], "max_order is 99"),
        (["--output", "/proc/evaluation"], "cannot write under /proc/evaluation"),
        (["--prove", "/proc/a.proof"], "cannot write under /proc"),
        (["--prove", "/proc"], "--prove /proc is a folder"),
        (["--output", "nosuch://bucket/x"], "Protocol not known: nosuch"),
    ],
)
def test_bad_input_is_one_clear_line(
    home: str, model: str, run: Run, no_ray: None, arguments: list[str], message: str
) -> None:
    own = [] if "--model" in arguments else ["--model", model]
    assert message in run("evaluate", "--root", home, *own, *arguments).refusal


def test_a_proof_file_becomes_its_text_and_a_dry_run_writes_none(
    home: str, model: str, run: Run, no_ray: None, tmp_path: Path
) -> None:
    text = tmp_path / "a.txt"
    text.write_bytes(b"the same bytes again\r\n" * 9)
    proof_url = str(tmp_path / "a.proof")
    artifact = fetch_model(model, home)
    proof.prove(artifact, text.read_bytes(), proof_url, compare=False)
    output = tmp_path / "b.txt"
    arguments = ["--root", home, "--model", model, "--decode", proof_url, "--output", str(output)]
    planned = run("evaluate", *arguments, "--dry_run").result
    assert not output.exists()
    assert planned.pop("dry_run") is True
    assert run("evaluate", *arguments).result == planned
    assert output.read_bytes() == text.read_bytes()
    assert "--print_config" in run("evaluate", *arguments, "--print_config").refusal


def test_decoding_refuses_where_it_cannot_write_before_it_decodes(
    home: str, model: str, run: Run, no_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "decode", None)
    arguments = ["--root", home, "--model", model, "--decode", "/nowhere/a.proof"]
    done = run("evaluate", *arguments, "--output", "/proc/a.txt")
    assert "cannot write under /proc" in done.refusal
