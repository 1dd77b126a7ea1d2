"""What older code wrote is read, and written again with the same bytes: corpora, checkpoints,
samples, archives, models.

tests/golden/README.md says what the files are and which fields may differ.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import runs
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus, open_version
from pipeline.corpora.trace import Tracer
from pipeline.corpora.verify import verify
from pipeline.model.about import Lineage
from pipeline.model.artifact import artifact_files, load_network, read_artifact
from pipeline.registry.archive import read_archive, write_archive
from pipeline.registry.catalogue import licence_text
from pipeline.registry.models import ModelVersion
from pipeline.registry.publication import publishable
from pipeline.sampler import load_model, sample
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.run import sample_files
from pipeline.training.config import TrainConfig
from pipeline.training.trainer import Trainer

GOLDEN = Path(__file__).parent / "golden"
SETTINGS: dict[str, Any] = json.loads((GOLDEN / "settings.json").read_text())
RUN = GOLDEN / "checkpoint" / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", sorted(SETTINGS["corpora"]))
def test_a_corpus_has_the_bytes_it_had(name: str, tmp_path: Path) -> None:
    settings = SETTINGS["corpora"][name]
    build_corpus(CorpusConfig(name=name, source=str(GOLDEN / "source"), **settings), str(tmp_path))
    before = contents(GOLDEN / "corpora-3" / "corpora" / name)
    after = contents(tmp_path / "corpora" / name)
    for files in (before, after):
        del files["sources.json"]  # says where the source lay and when it was modified
    assert after == before


@pytest.mark.parametrize(
    ("name", "split"), [("bytes", "document"), ("chars", "tail"), ("skips", "tail")]
)
def test_splits_that_format_2_knew_have_the_shards_they_had(
    name: str, split: str, tmp_path: Path
) -> None:
    settings = {**SETTINGS["corpora"][name], "split": split}
    source = str(GOLDEN / "source")
    result = build_corpus(CorpusConfig(name=name, source=source, **settings), str(tmp_path))
    before = open_corpus(str(GOLDEN), name)
    assert (before.manifest.format, before.manifest.split) == (2, split)
    after = open_version(result.url)
    assert after.manifest.splits == before.manifest.splits  # with the digest of every shard
    assert after.manifest.rule == before.manifest.rule
    assert after.documents().drop_columns(
        ["text_start", "anchors"]
    ) == before.documents().drop_columns(["anchors"])


@pytest.mark.parametrize("folder", [".", "corpora-3"])
@pytest.mark.parametrize("name", sorted(SETTINGS["corpora"]))
def test_a_corpus_of_any_format_is_read_back_to_its_source(name: str, folder: str) -> None:
    corpus = open_corpus(str(GOLDEN / folder), name)
    assert verify(corpus) > 0
    tracer = Tracer(corpus)
    source = GOLDEN / "source" / "state.code"
    if name != "skips":  # it takes other files
        assert tracer.document(b"state.code") == source.read_bytes()
    for split in ("train", "val", "test"):
        for position in range(0, corpus.tokens_in(split), 97):
            origin = tracer.origin(split, position)
            text = tracer.text(split, position, position + 1)
            if origin.path == "state.code" and origin.offset is not None:
                assert source.read_bytes()[origin.offset :].startswith(text)


@pytest.mark.parametrize(("step", "evaluated"), [(3, False), (4, True)])
def test_a_checkpoint_is_taken_up_and_written_again(
    step: int, evaluated: bool, tmp_path: Path
) -> None:
    url = RUN / runs.checkpoint_name(step)
    before = contents(url)
    config = TrainConfig(**json.loads(before["state.json"])["config"])
    trainer = Trainer(config, open_corpus(str(GOLDEN), "bytes"), torch.device("cpu"))
    trainer.load(str(url))
    if evaluated:  # the one thing that a checkpoint does not give back
        trainer.last_val = json.loads(before["config.json"])["metrics"]
    files = trainer.files(evaluated=evaluated)
    assert files is not None
    runs.write_checkpoint(str(tmp_path / "again"), files)
    assert contents(tmp_path / "again") == before
    rows = (RUN / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert trainer.journal.data == b"".join(rows[:step])


@pytest.mark.parametrize("name", ["gru", "rnn"])
def test_a_models_files_are_loaded_and_written_again(name: str, tmp_path: Path) -> None:
    artifact = read_artifact(str(GOLDEN / "models" / name))
    network, vocab, about = load_network(artifact.files, name)
    runs.write_checkpoint(str(tmp_path / name), artifact_files(network, vocab, about))
    assert contents(tmp_path / name) == contents(GOLDEN / "models" / name)


@pytest.mark.parametrize("name", sorted(SETTINGS["samples"]))
def test_samples_have_the_bytes_they_had(name: str, tmp_path: Path) -> None:
    settings = {**SETTINGS["samples"][name], "output": str(tmp_path / name)}
    if "primes" in settings:
        settings["primes"] = str(GOLDEN / settings["primes"])
    model = read_artifact(str(GOLDEN / settings["model"]))
    sample_files(SampleConfig(**settings), model, str(tmp_path), local=True)
    assert contents(tmp_path / name) == contents(GOLDEN / "samples" / name)


def test_python_gives_the_text_that_the_job_gave(tmp_path: Path) -> None:
    settings = SETTINGS["samples"]["lstm-top-k"]
    model = load_model(str(GOLDEN / settings["model"]), str(tmp_path), "int8")
    text = (GOLDEN / "samples" / "lstm-top-k" / "sample-00000.txt").read_bytes()
    given = sample(model, "def ", num_chars=400, top_k=5, temperature=0.8)
    assert given == text.decode("utf-8", "replace")


def test_an_archive_is_read_and_written_again(tmp_path: Path) -> None:
    carried = read_archive(str(GOLDEN / "archive.zip"))
    version = ModelVersion(carried.name, carried.version, carried.tags)
    sources = json.loads(carried.files["config.json"])["lineage"]
    licence = licence_text(version, Lineage.from_json(sources))
    write_archive(str(tmp_path / "archive.zip"), carried, licence)
    assert (tmp_path / "archive.zip").read_bytes() == (GOLDEN / "archive.zip").read_bytes()


def test_a_checkpoint_is_made_ready_for_the_registry_as_it_was(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "corpora", tmp_path / "corpora")  # with where its text is from
    corpus = open_corpus(str(tmp_path), "bytes")
    url = str(RUN / runs.checkpoint_name(4))
    files = publishable(url, "bytes", corpus, str(tmp_path))
    assert files == read_archive(str(GOLDEN / "archive.zip")).files


LOAD = """
import json, sys
sys.meta_path = [finder for finder in sys.meta_path if "__editable__" not in repr(finder)]
sys.path = [entry for entry in sys.path if entry != sys.argv[3]]
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
texts = [model.predict(call["primes"], params=call["params"]) for call in json.loads(sys.argv[2])]
own = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "pipeline"]
assert own and all(file.startswith(sys.argv[1] + "/code/") for file in own), own
print(json.dumps(texts))
"""


def test_a_model_that_was_registered_loads_with_the_code_it_carries(tmp_path: Path) -> None:
    """In a process where no other `pipeline` is to be had, as `mlflow models serve` has it on
    another machine.
    """
    with zipfile.ZipFile(GOLDEN / "registered.zip") as archive:
        archive.extractall(tmp_path / "model")
    calls = json.loads((GOLDEN / "registered.expected.json").read_text())["calls"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    house = str(GOLDEN.parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "model"), json.dumps(calls), house],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [call["texts"] for call in calls]
