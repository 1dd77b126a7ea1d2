"""Every document of a corpus or a folder, as a job."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.documents_job import prepare_documents, run_documents
from pipeline.tasks import Runner, run_here


@contextlib.contextmanager
def here(output: str) -> Iterator[Runner]:
    yield run_here


def config(model: str, **settings: Any) -> EvaluateConfig:
    return EvaluateConfig(model=model, per_document=True, **settings)


def test_a_split_is_scored_into_a_table_and_a_report(
    home: str, small: str, tmp_path: Path, corpus: Corpus
) -> None:
    run = run_documents(config(small, output=str(tmp_path)), home, here)
    found = run.to_json()
    assert found["text"] == f"val of texts@{corpus.version}"
    table = pq.read_table(found["url"])
    assert len(table) == found["rows"] > 5
    assert sum(table["bytes"].to_pylist()) == found["bytes"] == corpus.bytes_in("val")
    assert "Documents that do not belong" in Path(run.report).read_text()
    assert json.loads((tmp_path / "documents.json").read_text())["sha256"] == found["sha256"]


def test_a_folder_is_a_source_like_any_other(home: str, small: str, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.py").write_text(f"def {name}():\n    return 1\n")
    plan = prepare_documents(config(small, text=str(folder)), home)
    assert plan.text == str(folder)
    assert plan.output.startswith(f"{home}/evaluations/run-8-checkpoint-00000001-documents-")
    run = run_documents(config(small, text=str(folder), output=str(tmp_path / "out")), home, here)
    assert sorted(pq.read_table(run.result.url)["path"].to_pylist()) == ["a.py", "b.py"]


def test_one_model_is_scored(home: str, small: str, large: str) -> None:
    for option, value in {"prove": "a", "dynamic": True, "samples": "2", "max_bytes": 9}.items():
        asked: dict[str, Any] = {option: value}
        with pytest.raises(InputError, match=f"leave --{option} out"):
            prepare_documents(EvaluateConfig(model="m", per_document=True, **asked), "nowhere")
    with pytest.raises(InputError, match="per_document scores one model"):
        prepare_documents(config(small, models=large), home)


def test_another_text_or_precision_is_another_folder(home: str, small: str) -> None:
    def output(**settings: Any) -> str:
        return prepare_documents(config(small, **settings), home).output

    assert len({output(), output(split="train"), output(precision="int8")}) == 3
    assert output() == output(split="val", num_workers=2)
