"""What lies beside scores: each study where it was asked for, and the same whoever runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.evaluation import proof
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.plan import prepare
from pipeline.evaluation.result import Evaluation
from pipeline.evaluation.run import evaluated, study_figures
from pipeline.model.artifact import read_artifact
from pipeline.tasks import Runner, run_here
from tests.registering import checkpoint

QUICK: dict[str, Any] = {
    "max_bytes": 12_000,
    "warm_bytes": 4_000,
    "ngram_bytes": 20_000,
    "max_order": 5,
}


def last_first(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """What a cluster does: tasks end in any order, and results have been JSON."""
    for index, task in reversed(list(enumerate(tasks))):
        yield index, json.loads(json.dumps(function(task)))


def made(home: str, runner: Runner = run_here, **settings: Any) -> Evaluation:
    config = EvaluateConfig(**{**QUICK, **settings})
    return evaluated(prepare(config, home, {"texts": "python"}), home, runner)


def found(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    return {study.name: study.found for study in evaluation.studies}


def test_by_default_there_are_duplicates_and_the_places_of_the_loss(home: str, small: str) -> None:
    evaluation = made(home, model=small)
    studies = found(evaluation)
    assert list(studies) == ["near_duplicates", "loss"]
    score = evaluation.models[0]
    assert studies["loss"]["nats"] == pytest.approx(score.nats * score.symbols)
    assert list(studies["loss"]["rivals"]) == ["5-gram"]
    by_ngram = evaluation.ngrams[-1].bits_per_byte * np.log(2) * evaluation.text.bytes
    assert studies["loss"]["rivals"]["5-gram"] == pytest.approx(by_ngram)
    without = studies["near_duplicates"]["bits_per_byte_without"][score.model]
    assert without == pytest.approx(score.bits_per_byte, abs=0.5)
    off = made(home, model=small, duplicates=False, breakdown=False)
    assert not off.studies


def test_text_of_nobody_has_no_near_duplicates(home: str, small: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"def f():\n    return 1\n" * 40)
    assert list(found(made(home, model=small, text=str(path)))) == ["loss"]


def test_a_proof_holds_the_text_that_was_scored(
    home: str, small: str, tmp_path: Path, corpus: Corpus
) -> None:
    url = str(tmp_path / "val.proof")
    evaluation = made(home, model=small, prove=url, duplicates=False, breakdown=False)
    assert evaluation.studies[0].key["bytes"] == Path(url).stat().st_size
    text = proof.decode(url, read_artifact(small))
    assert len(text) == evaluation.text.bytes == 12_000
    assert study_figures(evaluation, "val")["evaluate/val_proof_bytes"] == len(
        Path(url).read_bytes()
    )


def test_samples_are_checked_beside_held_out_text_and_looked_up(
    home: str, small: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "model": small,
        "samples": "1",
        "sample_chars": 400,
        "sample_temperatures": "0.5,1",
        "duplicates": False,
        "breakdown": False,
        "baselines": False,
        "output": str(tmp_path),
    }
    studies = found(made(home, **settings))
    assert list(studies) == ["structure", "memory", "canary"]
    structure = studies["structure"]
    assert structure["kind"] == "python"
    assert [group["temperature"] for group in structure["groups"]] == [0.5, 1.0]
    assert all(group["samples"]["bytes"] == 400 for group in structure["groups"])
    groups = [group["group"] for group in studies["memory"]["groups"]]
    assert groups == ["temperature 0.5", "temperature 1", "val"]
    # Drawn once; read from the folder the second time, and by whoever.
    settings["samples"] = str(tmp_path / "samples")
    assert found(made(home, last_first, **settings)) == studies


def test_who_runs_studies_changes_no_bit(home: str, small: str, large: str) -> None:
    one = made(home, model=small, models=large).to_json()
    two = made(home, last_first, model=small, models=large, num_workers=2).to_json()
    assert one["studies"] == two["studies"]


def test_dynamic_evaluation_is_tuned_on_val_and_reported_on_test(
    texts: Path, tmp_path: Path
) -> None:
    root = str(tmp_path)
    build_corpus(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.1), root)
    off = {"duplicates": False, "breakdown": False, "baselines": False}
    model = checkpoint(root, 8)
    dynamic = found(made(root, model=model, dynamic=True, dynamic_tokens=60, **off))["dynamic"]
    assert (dynamic["tuning_split"], dynamic["split"]) == ("val", "test")
    assert dynamic["tokens"] == 60


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": "0"}, "samples is 0"),
        ({"samples": "-3"}, "samples is -3"),
        ({"samples": "/nowhere"}, "holds no samples"),
        ({"samples": "1", "sample_temperatures": "hot"}, "temperature is 'hot'"),
        ({"samples": "1", "kind": "pyton"}, "kind is 'pyton'.*python"),
        ({"compile": True}, "compile is for samples"),
        ({"samples": "1", "compile": True}, "python"),
        ({"dynamic": True}, "the corpus lacks one of them"),
        ({"dynamic_tokens": 0}, "dynamic_tokens is 0"),
    ],
)
def test_what_cannot_be_studied_is_refused(
    home: str, small: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        made(home, model=small, baselines=False, duplicates=False, breakdown=False, **settings)
