"""From a sample to the source: digests of every step, and what is said where one does not fit."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus
from pipeline.model.about import CorpusReference
from pipeline.model.artifact import WEIGHTS, ModelArtifact
from pipeline.registry.fetch import fetch_model
from pipeline.reproducing.lineage import SHOWN_FILES, section, trace
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.run import sample_files
from pipeline.training.config import TrainConfig
from pipeline.training.preflight import RunStart
from tests.registering import checkpoint


@pytest.fixture(scope="module")
def home(root: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("traced")
    (folder / "corpora").symlink_to(Path(root, "corpora"))
    return str(folder)


@pytest.fixture(scope="module")
def model(home: str, corpus: Corpus) -> ModelArtifact:
    artifact = fetch_model(checkpoint(home, 8), home)
    reference = CorpusReference(corpus.name, corpus.version, corpus.fingerprint)
    RunStart(reference, "mine", asdict(TrainConfig(corpus="texts"))).write(run_of(home))
    return artifact


def run_of(home: str) -> str:
    return runs.run_url(home, "run-8")


@pytest.fixture
def samples(home: str, model: ModelArtifact, tmp_path: Path) -> Path:
    config = SampleConfig(model=model.uri, num_files=2, num_chars=20, output=str(tmp_path))
    sample_files(config, model, home, local=True)
    return tmp_path / "samples.jsonl"


def broken(found: tuple[object, ...]) -> list[str]:
    return [step.broken for step in found if step.broken]  # type: ignore[attr-defined]


def test_every_step_has_its_digest_down_to_the_documents(
    home: str, model: ModelArtifact, corpus: Corpus, samples: Path
) -> None:
    found = trace(str(samples), model, run_of(home), corpus)
    assert broken(found) == []
    by_what = {step.what: step for step in found}
    sample = samples.with_name("sample-00001.txt")
    assert by_what["sample sample-00001.txt"].digest == storage.sha256(str(sample))
    assert by_what["model run-8"].digest == model.digests[WEIGHTS]
    assert by_what["run"].where == run_of(home)
    named = by_what[f"corpus {corpus.name}@{corpus.version}"]
    assert named.digest == corpus.fingerprint
    assert corpus.manifest.documents_sha256 in named.says
    sources = [step for step in found if step.what == "source"]
    table = corpus.documents()
    digests = {digest.hex() for digest in table["digest"].to_pylist()}
    assert {step.digest for step in sources if step.digest} <= digests
    assert len(sources) == min(SHOWN_FILES + 1, len(digests))
    shown = section(found)
    assert shown.lead.endswith("All steps fit each other.")
    assert len(shown.table) == len(found) + 1
    assert json.dumps([step.to_json() for step in found])


def test_a_changed_sample_breaks_the_chain(
    home: str, model: ModelArtifact, corpus: Corpus, samples: Path
) -> None:
    samples.with_name("sample-00000.txt").write_bytes(b"written by hand")
    found = trace(str(samples), model, run_of(home), corpus)
    assert broken(found) == ["the file is not the one that the list of samples tells of"]
    assert "1 steps do not fit" in section(found).lead


def test_samples_of_another_model_break_it(
    home: str, model: ModelArtifact, corpus: Corpus, samples: Path
) -> None:
    other = dataclasses.replace(model, digests={**model.digests, WEIGHTS: "0" * 64})
    found = broken(trace(str(samples), other, run_of(home), corpus))
    assert len(found) == 2
    assert "of other weights than" in found[0]


def test_another_corpus_breaks_it_at_the_model_and_the_run(
    home: str, model: ModelArtifact, corpus: Corpus, samples: Path
) -> None:
    learned = dataclasses.replace(model.about.corpus, fingerprint="another")
    about = dataclasses.replace(model.about, corpus=learned)
    other = dataclasses.replace(model, about=about)
    run = runs.run_url(str(samples.parent), "run-9")
    RunStart(learned, "mine", {}).write(run)
    said = broken(trace(str(samples), other, run, corpus))
    assert "which is not the corpus" in said[0]
    assert "it was started on" in said[1]
