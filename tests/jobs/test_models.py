"""jobs/models.py as a person runs it: what it prints, and what it refuses.

What it prints is tests/registry/test_catalogue.py's subject.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from jobs import models
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus
from pipeline.hints import command
from tests.jobs.conftest import Run
from tests.registering import registered, with_database


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> str:
    """A root with two versions of a model, untrained: 16 and 24 units."""
    root = with_database(str(tmp_path_factory.mktemp("home")))
    config = CorpusConfig(
        name="texts", source=str(texts), val=0.2, test=0.0, licence="PSF-2.0", url="https://x"
    )
    build_corpus(config, root)
    for size in (16, 24):
        registered(root, size)
    return root


def test_models_are_listed_promoted_and_compared(run: Run, home: str) -> None:
    listed = run("models", "--root", home, "list")
    rows = listed.result["models"]
    assert listed.result["tracking_uri"] == f"sqlite:///{home}/mlflow.db"
    assert [(row["name"], row["version"], row["aliases"], row["run_id"]) for row in rows] == [
        ("texts", "1", [], "run-16"),
        ("texts", "2", [], "run-24"),
    ]
    head, first, _ = (line.split() for line in listed.log)
    assert " ".join(head) == "name version corpus bits per byte sampled in age"
    corpus = f"texts@{open_corpus(home, 'texts').version}"
    assert first[:5] == ["texts", "1", corpus, "3.7500", rows[0]["precision"]]
    promoted = run("models", "--root", home, "promote", "texts/1")
    assert promoted.result == {"model": "models:/texts/1", "alias": "champion", "before": None}
    assert promoted.log == ("models:/texts/1 is the champion; before: none",)
    again = run("models", "--root", home, "promote", "texts/2")
    assert again.result["before"] == "models:/texts/1"
    assert again.log == ("models:/texts/2 is the champion; before: models:/texts/1",)
    assert run("models", "--root", home, "show", "texts").result["model"] == "models:/texts/2"
    listed = run("models", "--root", home, "list", "texts")
    assert listed.result["models"][1]["aliases"] == ["champion"]
    compared = run("models", "--root", home, "compare", "texts/1", "texts@champion")
    assert (compared.result["better"], compared.result["figures"]) == (
        "models:/texts/2",
        "registered",
    )
    assert compared.log == (
        f"model            bits per byte, val of {corpus}, registered",
        "models:/texts/1  3.7500",
        "models:/texts/2  2.5000",
    )
    scored = run("models", "--root", home, "compare", "texts/1", "texts/2", "--corpus", "texts")
    assert scored.result["figures"] == "scored now"
    assert all(5 < score < 9 for score in scored.result["val_bits_per_byte"].values())  # untrained


def test_a_model_shows_its_card_and_its_lineage(run: Run, home: str) -> None:
    shown = run("models", "--root", home, "show", "texts/1", "--documents", 3)
    result = shown.result
    corpus = open_corpus(home, "texts")
    assert shown.log[-1].startswith("# texts\n")
    assert result["corpus"]["fingerprint"] == corpus.fingerprint
    assert result["corpus"]["url"] == corpus.url
    assert result["sources"]["licence"] == "PSF-2.0"
    assert [document["path"] for document in result["documents"]] == [
        ".hidden.py",
        "_private/keyword.py",
        "abc.py",
    ]
    assert result["parameters"] > 1000
    assert result["tags"]["unreasonable.run_id"] == "run-16"
    assert len(run("models", "--root", home, "show", "texts/1").result["documents"]) == 10


def test_a_model_goes_from_one_registry_to_another(
    run: Run, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = with_database(str(tmp_path / "there"))
    monkeypatch.chdir(tmp_path)
    exported = run("models", "--root", home, "export", "texts/2", "texts.zip")  # a path here
    archive = str(tmp_path / "texts.zip")
    digest = exported.result["sha256"]
    assert exported.result["archive"] == archive
    assert exported.log[-1] == f"{archive}: give its SHA-256 with it: {digest}"
    with zipfile.ZipFile(archive) as opened:
        assert "PSF-2.0" in opened.read("LICENCE.txt").decode()
        documents = json.loads(opened.read("lineage.json"))["documents"]
    assert len(documents) == exported.result["documents"] == 14
    imported = run("models", "--root", there, "import", "texts.zip", "--sha256", digest)
    assert imported.result["model"] == "models:/texts/1"
    assert imported.result["tags"]["imported_from"] == f"texts/2 in {archive}"
    assert imported.log[-1] == (
        f"registered as models:/texts/1; no alias moved: {command('models promote')} texts/1"
    )
    shown = run("models", "--root", there, "show", "texts")  # no champion: the newest
    assert shown.result["sources"]["licence"] == "PSF-2.0"
    named = run("models", "--root", there, "import", archive, "--name", "borrowed")
    assert named.result["model"] == "models:/borrowed/1"
    refused = run("models", "--root", there, "import", archive, "--sha256", "0" * 64)
    assert "has SHA-256" in refused.refusal
    refused = run("models", "--root", there, "import", archive, "--name", "a/b")
    assert "cannot be registered" in refused.refusal


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["show", "nobody"], "registered are: texts"),
        (["promote", "texts/99"], "no model"),
        (["compare", "texts/1", "texts@nobody"], "no model"),
        (["list", "nobody"], "no model 'nobody'"),
        (["import", "/nowhere.zip"], "cannot read archive /nowhere.zip"),
        (["export", "texts/1"], "ARCHIVE"),
        (["explode"], "explode"),
        ([], "ACTION"),
    ],
)
def test_bad_input_is_one_clear_line(run: Run, home: str, argv: list[str], message: str) -> None:
    assert message in run("models", "--root", home, *argv).refusal


def test_a_version_without_figures_is_listed(
    run: Run, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a model that another program registered."""
    from pipeline.registry import catalogue
    from pipeline.registry.models import ModelVersion

    def rows(registry: Any, name: str) -> list[Any]:
        return [catalogue._row(ModelVersion("other", "1", {}, created=0.0), {})]

    monkeypatch.setattr(catalogue, "list_models", rows)
    listed = run("models", "--root", home, "list")
    assert listed.result["models"][0]["val_bits_per_byte"] is None
    assert listed.log[1].split()[:3] == ["other", "1", "fp32"]


def test_a_command_line_may_be_given(home: str, capsys: pytest.CaptureFixture[str]) -> None:
    models.main(["--root", home, "list", "texts"])
    assert len(json.loads(capsys.readouterr().out)["models"]) == 2
