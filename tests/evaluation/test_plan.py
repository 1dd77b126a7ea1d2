"""An evaluation before anything is computed: what it takes, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.errors import InputError
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.plan import prepare
from pipeline.evaluation.texts import text_of_split


def test_a_model_is_scored_on_val_of_its_own_corpus(home: str, small: str, corpus: Corpus) -> None:
    plan = prepare(EvaluateConfig(model=small), home)
    assert plan.text.data == text_of_split(corpus, "val").data
    assert plan.split == "val"
    (model,) = plan.models
    assert (model.name, model.precision, model.vocab.unit) == (
        "run-8/checkpoint-00000001",
        "fp32",
        "byte",
    )
    assert len(plan.train) == corpus.bytes_in("train")
    assert Path(plan.output).parent == Path(home, "evaluations")
    assert Path(plan.output).name.startswith("run-8-checkpoint-00000001-")


def test_the_folder_is_named_after_what_decides_the_figures(home: str, small: str) -> None:
    def output(**settings: Any) -> str:
        return prepare(EvaluateConfig(model=small, **settings), home).output

    assert output() == output(num_workers=4) == output(split="val")
    different = [output(), output(max_bytes=5000), output(precision="int8"), output(max_order=3)]
    assert len(set(different)) == 4
    assert output(output="/elsewhere/x") == "/elsewhere/x"


def test_tasks_are_by_workers_and_baselines_beside_them(home: str, small: str, large: str) -> None:
    config = EvaluateConfig(model=small, models=large, num_workers=2, ngram_bytes=1000)
    plan = prepare(config, home)
    assert [len(tasks) for tasks in plan.lane_tasks()] == [2, 2]
    packed, ngrams = plan.baseline_tasks()
    assert [task.name for task in packed] == ["xz", "zstd", "ppmd"]
    assert ngrams[0].train == plan.train[-1000:]
    assert packed[0].train == plan.train
    bare = prepare(EvaluateConfig(model=small, baselines=False), home)
    assert bare.baseline_tasks() == ([], [])
    assert bare.train == b""
    cold = prepare(EvaluateConfig(model=small, warm_bytes=0, ngram_bytes=0), home)
    packed, ngrams = cold.baseline_tasks()
    assert (packed[0].train, ngrams) == (b"", [])


def test_a_text_needs_no_corpus(home: str, small: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"def f():\n    pass\n")
    with_corpus = prepare(EvaluateConfig(model=small, text=str(path)), home)
    assert with_corpus.split == ""
    assert with_corpus.train
    alone = prepare(EvaluateConfig(model=small, text=str(path)), str(tmp_path / "empty"))
    assert (alone.corpus, alone.train) == (None, b"")
    assert alone.text.data == path.read_bytes()


def test_a_corpus_that_cannot_be_opened_is_one_line(small: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"learned corpus texts@\w+, which cannot be opened"):
        prepare(EvaluateConfig(model=small), str(tmp_path))
    with pytest.raises(InputError, match="no corpus 'other'"):
        prepare(EvaluateConfig(model=small, corpus="other"), str(tmp_path))


def test_another_corpus_can_be_asked_for(home: str, small: str, tmp_path: Path) -> None:
    source = tmp_path / "b.txt"
    source.write_text("other text, \u20ac\n" * 1000)
    root = str(tmp_path / "root")
    build_corpus(CorpusConfig(name="b", source=str(source), val=0.2, test=0.0), root)
    plan = prepare(EvaluateConfig(model=small, corpus="b"), root)
    assert plan.text.data == text_of_split(open_corpus(root, "b"), "val").data
    assert plan.models[0].read.unknown.symbols > 0


def test_two_models_of_one_name_are_called_as_they_were_given(
    home: str, small: str, tmp_path: Path
) -> None:
    copy = tmp_path / "run-8" / "checkpoint-00000001"
    copy.mkdir(parents=True)
    for file in Path(small).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    plan = prepare(EvaluateConfig(model=small, models=str(copy)), home)
    assert [model.name for model in plan.models] == [small, str(copy)]


def test_a_model_that_is_not_there_is_one_line(home: str, small: str) -> None:
    with pytest.raises(InputError, match="no complete checkpoint at /nowhere/at/all"):
        prepare(EvaluateConfig(model=small, models="/nowhere/at/all"), home)


def test_a_folder_without_samples_is_refused_before_anything_is_scored(
    home: str, small: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="holds no samples"):
        prepare(EvaluateConfig(model=small, samples=str(tmp_path), kind="python"), home)


def test_a_plan_says_what_stands_beside_the_scores(small: str) -> None:
    assert EvaluateConfig(model=small).studies == ("baselines", "duplicates", "breakdown")
    assert EvaluateConfig(model=small, samples="2", duplicates=False).studies == (
        "baselines",
        "breakdown",
        "samples",
    )
