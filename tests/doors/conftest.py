"""One root with a corpus and two registered models, and doors that must leave it as it is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus
from pipeline.model.about import CorpusReference
from pipeline.sampler import Model, load_model
from pipeline.training.config import TrainConfig
from pipeline.training.preflight import RunStart
from tests.doors.house import contents
from tests.jobs.conftest import Run, no_ray, run
from tests.registering import checkpoint, registered, with_database

__all__ = ["no_ray", "run"]  # fixtures

# A recipe of the house: its corpus is built, its model is registered.
SECTIONS: dict[str, dict[str, Any]] = {
    "corpus": {"name": "texts", "val": 0.2, "test": 0.0},
    "train": {
        "num_layers": 1,
        "hidden_size": 16,
        "global_batch_size": 4,
        "seq_len": 16,
        "max_steps": 2,
        "max_epochs": 0,
        "eval_every": 2,
    },
    "sample": {"num_chars": 50, "model": "models:/texts/1"},
}


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> str:
    """A root with a corpus, two versions of a model, and a run that could be resumed."""
    root = with_database(str(tmp_path_factory.mktemp("house")))
    build_corpus(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), root)
    for size in (16, 24):
        registered(root, size)
    corpus = open_corpus(root, "texts")
    config = TrainConfig(corpus="texts", **SECTIONS["train"])
    reference = CorpusReference(corpus.name, corpus.version, corpus.fingerprint)
    RunStart(reference, "texts", dataclasses.asdict(config)).write(runs.run_url(root, "begun"))
    return root


@pytest.fixture(scope="session")
def recipe_of(house: str, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Write a recipe of the house with some settings changed; its path.

    JSON is YAML too, and says null, numbers and texts without doubt; but for what JSON has no word
    for.
    """
    folder = tmp_path_factory.mktemp("recipes")

    def write(section: str = "", **changes: Any) -> str:
        sections = {name: dict(settings) for name, settings in SECTIONS.items()}
        sections["corpus"]["source"] = str(texts)
        if section:
            sections[section].update(changes)
        text = json.dumps(sections)
        # JSON's words of Python for what YAML writes with a dot.
        for word, yaml in (("NaN", ".nan"), ("-Infinity", "-.inf"), ("Infinity", ".inf")):
            text = text.replace(f": {word}", f": {yaml}")
        path = folder / "texts.yaml"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def refused(
    run: Run,
    no_ray: None,
    house: str,
    recipe_of: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    """Try a job that must refuse: the one line that it says.

    No Ray starts, and neither the root nor the folder of the test has a file more, or less, than
    before. The root is the house's, and the recipe too, unless they are given.
    """

    monkeypatch.chdir(tmp_path)  # where a relative path that is taken for one would lie

    def refused(name: str, *arguments: object) -> str:
        given = list(map(str, arguments))
        if not any(part.partition("=")[0] == "--root" for part in given):
            given = ["--root", house, *given]
        has_recipe = any(part.partition("=")[0] == "--recipe" for part in given)
        if name not in ("models", "schedule") and not has_recipe:
            given = ["--recipe", recipe_of(), *given]
        before = contents(house, tmp_path)
        line = run(name, *given).refusal
        assert contents(house, tmp_path) == before
        assert "Traceback" not in line
        return line

    return refused


@pytest.fixture(scope="session")
def checkpoint_url(house: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model as a checkpoint's folder, which needs no registry."""
    folder = tmp_path_factory.mktemp("checkpoint")
    (folder / "corpora").symlink_to(Path(house, "corpora"))
    return checkpoint(str(folder), 16)


@pytest.fixture(scope="session")
def model(checkpoint_url: str) -> Model:
    return load_model(checkpoint_url)
