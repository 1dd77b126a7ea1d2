from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.sampling.batch import sample_files
from pipeline.sampling.config import SampleConfig
from pipeline.training import checkpoint
from pipeline.training.artifact import ARTIFACT, FetchedModel
from pipeline.training.config import ModelConfig
from pipeline.training.model import CharRNN, initialize


@pytest.fixture(scope="module")
def model(corpus: Corpus) -> FetchedModel:
    """An untrained model of the corpus: what it writes is noise, and that is enough here."""
    network = CharRNN(ModelConfig(vocab_size=len(corpus.vocab), num_layers=1, hidden_size=16))
    initialize(network, 1)
    about = {"corpus": {"name": "texts"}, "first_tokens": corpus.manifest["first_tokens"]}
    files = checkpoint.artifact_files(network, corpus.vocab, about)
    assert set(files) == set(ARTIFACT)
    return checkpoint.fetched("m", "1", "models:/m/1", files)


def config(**changes: object) -> SampleConfig:
    return SampleConfig(**{"model": "models:/m/1", "num_files": 11, "num_chars": 1500, **changes})  # type: ignore[arg-type]


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("sample*")}


def test_any_number_of_actors_writes_the_same_files(tmp_path: Path, model: FetchedModel, local_ray: None) -> None:
    for workers in (1, 2):
        sample_files(config(num_workers=workers), model, str(tmp_path / str(workers)))
    sample_files(config(), model, str(tmp_path / "here"), local=True)
    assert texts(tmp_path / "1") == texts(tmp_path / "2") == texts(tmp_path / "here")
    rows = [json.loads(line) for line in (tmp_path / "1" / "samples.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == [f"sample-{n:05d}.txt" for n in range(11)]
    for row in rows:
        text = (tmp_path / "1" / row["file"]).read_bytes()
        assert hashlib.sha256(text).hexdigest() == row["sha256"]
        assert len(text) == row["num_chars"] == 1500


def test_a_job_run_again_writes_only_what_is_missing(tmp_path: Path, model: FetchedModel) -> None:
    sample_files(config(), model, str(tmp_path), local=True)
    before = texts(tmp_path)
    for name in ("sample-00003.txt", "sample-00003.txt.json", "samples.jsonl"):
        (tmp_path / name).unlink()
    assert sample_files(config(), model, str(tmp_path), local=True)["written"] == 1
    assert texts(tmp_path) == before
    assert sample_files(config(num_files=13), model, str(tmp_path), local=True)["written"] == 2


def test_other_settings_do_not_mix_with_what_is_there(tmp_path: Path, model: FetchedModel) -> None:
    sample_files(config(), model, str(tmp_path), local=True)
    with pytest.raises(InputError, match="other settings"):
        sample_files(config(seed=2), model, str(tmp_path), local=True)
    assert sample_files(config(seed=2, num_files=2, overwrite=True), model, str(tmp_path), local=True)["written"] == 2
    assert len(list(tmp_path.glob("*.txt"))) == 2


def test_a_prime_comes_first_and_must_be_in_the_vocabulary(tmp_path: Path, model: FetchedModel) -> None:
    sample_files(config(prime="def ", num_files=1), model, str(tmp_path / "a"), local=True)
    assert (tmp_path / "a" / "sample-00000.txt").read_bytes().startswith(b"def ")
    with pytest.raises(InputError, match="outside the vocabulary"):
        sample_files(config(prime="\x00"), model, str(tmp_path / "b"), local=True)
    assert not (tmp_path / "b").exists()
