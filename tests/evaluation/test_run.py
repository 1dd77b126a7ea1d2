"""An evaluation from end to end, in this process."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.plan import prepare
from pipeline.evaluation.run import evaluated, figures, run_evaluation, study_figures
from pipeline.evaluation.texts import text_of_split
from pipeline.model.about import CorpusReference
from pipeline.model.artifact import read_artifact
from pipeline.registry.models import ModelVersion
from pipeline.tasks import Runner, run_here

QUICK: dict[str, Any] = {"max_bytes": 20_000, "warm_bytes": 20_000, "ngram_bytes": 20_000}


@contextlib.contextmanager
def here(output: str) -> Iterator[Runner]:
    yield run_here


def last_first(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """What a cluster does: tasks end in any order, and results have been JSON."""
    for index, task in reversed(list(enumerate(tasks))):
        yield index, json.loads(json.dumps(function(task)))


def test_models_and_baselines_of_one_text(
    home: str, small: str, large: str, tmp_path: Path, corpus: Corpus
) -> None:
    config = EvaluateConfig(model=small, models=large, output=str(tmp_path), **QUICK)
    run = run_evaluation(config, home, here)
    found = run.evaluation
    assert [score.model for score in found.models] == [
        "run-8/checkpoint-00000001",
        "run-24/checkpoint-00000001",
    ]
    text = text_of_split(corpus, "val", 20_000).data
    one = found.models[0]
    # An untrained model knows nothing: it pays about the logarithm of its vocabulary.
    assert one.bits_per_byte == pytest.approx(np.log2(len(corpus.vocab)), rel=0.05)
    assert one.nats * one.symbols == pytest.approx(found.streams[one.model].nats.sum())
    assert one.bits_per_byte_interval is not None
    assert one.bits_per_byte_interval.low < one.bits_per_byte < one.bits_per_byte_interval.high
    assert one.may_have_learnt == ""
    assert one.rule.startswith("block: ")
    assert one.symbols == len(text) == found.text.bytes
    best = found.best_ngram
    assert best is not None
    assert [each.other for each in found.differences] == [found.models[1].model, f"{best.n}-gram"]
    assert found.differences[0].bits_per_byte == pytest.approx(
        found.models[1].bits_per_byte - one.bits_per_byte
    )
    assert [score.n for score in found.ngrams] == list(range(1, 21))
    assert [score.name for score in found.compressors] == ["xz", "zstd", "ppmd"]
    assert all(score.train_bytes == 20_000 for score in found.compressors)
    assert found.training is not None
    assert found.training.ngram_bytes == 20_000
    written = json.loads(Path(run.report_json).read_text())
    assert written == json.loads(json.dumps(found.to_json()))
    assert "<h2>Compressors</h2>" in Path(run.report).read_text()
    last_line = run.to_json()
    assert last_line["report"] == f"{tmp_path}/report.html"
    assert "curve" not in last_line["models"][0]


def test_who_runs_the_tasks_changes_no_bit(home: str, small: str, large: str) -> None:
    def made(workers: int, runner: Runner) -> dict[str, Any]:
        settings = {**QUICK, "max_order": 4}
        config = EvaluateConfig(model=small, models=large, num_workers=workers, **settings)
        return evaluated(prepare(config, home), home, runner).to_json()

    assert made(1, run_here) == made(3, last_first)


def test_training_text_and_a_text_of_nobody_say_so(home: str, small: str, tmp_path: Path) -> None:
    def may_have_learnt(**settings: Any) -> str:
        config = EvaluateConfig(model=small, baselines=False, max_bytes=2000, **settings)
        found = evaluated(prepare(config, home), home)
        assert (found.compressors, found.ngrams, found.training) == ((), (), None)
        return found.models[0].may_have_learnt

    path = tmp_path / "a.txt"
    path.write_bytes(b"def f():\n    pass\n")
    assert may_have_learnt(split="train") == "it is training text"
    assert may_have_learnt(text=str(path)) == "nobody knows: the text is of no corpus"


@dataclasses.dataclass
class Told:
    """A registry that has models:/texts/1 alone, and what it was told."""

    figures: list[tuple[str, dict[str, float], str, str]]

    def resolve(self, uri: str) -> ModelVersion:
        assert uri == "models:/texts/1"
        return ModelVersion("texts", "1", {"corpus": "others@1"})

    def log_evaluation(
        self, version: ModelVersion, figures: dict[str, float], text: str, digest: str
    ) -> None:
        if not self.figures:
            raise OSError("no room")
        self.figures.append((version.uri, figures, text, digest))


@pytest.fixture
def told(small: str, monkeypatch: pytest.MonkeyPatch) -> Told:
    """The small model is models:/texts/1; tests/registry asks a real registry."""
    artifact = dataclasses.replace(
        read_artifact(small), name="texts", version="1", uri="models:/texts/1"
    )
    made = Told([("", {}, "", "")])
    monkeypatch.setattr("pipeline.evaluation.plan.fetch_model", lambda reference, root: artifact)
    monkeypatch.setattr("pipeline.registry.models.Models", lambda tracking: made)
    monkeypatch.setattr("pipeline.registry.tracking.Tracking", lambda root: None)
    return made


def test_a_registered_models_version_is_told_the_figures(
    told: Told, home: str, tmp_path: Path
) -> None:
    config = EvaluateConfig(model="texts", baselines=False, output=str(tmp_path), max_bytes=20_000)
    run = run_evaluation(config, home, here)
    (score,) = run.evaluation.models
    assert score.model == "texts/1"
    uri, shown, text, digest = told.figures[-1]
    assert (uri, text) == ("models:/texts/1", run.evaluation.text.source)
    assert shown == figures(score, "val") | study_figures(run.evaluation, "val")
    assert shown["evaluate/val_bits_per_byte"] == score.bits_per_byte
    assert shown["evaluate/val_bits_per_byte_low"] < score.bits_per_byte
    assert len(digest) <= 36


def test_a_registry_that_cannot_be_told_costs_no_report(
    told: Told, home: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told.figures.clear()
    config = EvaluateConfig(model="texts", baselines=False, output=str(tmp_path), max_bytes=2000)
    assert Path(run_evaluation(config, home, here).report).exists()
    assert "was not told of the scores of models:/texts/1: no room" in caplog.text


def test_a_registered_model_of_another_corpus_may_have_learnt_the_text(
    told: Told, home: str, small: str, tmp_path: Path
) -> None:
    plan = prepare(EvaluateConfig(model="texts", baselines=False, max_bytes=2000), home)
    (model,) = plan.models
    other = CorpusReference("others", "1", "f" * 64)
    about = dataclasses.replace(model.artifact.about, corpus=other)
    for uri in ("models:/texts/1", "/a/checkpoint"):
        artifact = dataclasses.replace(model.artifact, about=about, uri=uri)
        planned = dataclasses.replace(model, artifact=artifact)
        found = evaluated(dataclasses.replace(plan, models=(planned,)), home)
        assert found.models[0].may_have_learnt.startswith("it learned ")
        assert "others" in found.models[0].may_have_learnt


def test_a_model_that_diverged_is_one_line(home: str, small: str) -> None:
    plan = prepare(EvaluateConfig(model=small, baselines=False, max_bytes=2000), home)

    def diverged(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for index, task in enumerate(tasks):
            count = sum(len(lane) - 1 for lane in task.lanes)
            yield index, base64.b64encode(np.full(count, np.nan).tobytes()).decode()

    with pytest.raises(InputError, match="checkpoint-00000001 gives no numbers on this text"):
        evaluated(plan, home, diverged)
