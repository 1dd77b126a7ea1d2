"""Registered models on a real registry: what a version says of itself, aliases, and what is trusted
of its files.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from pipeline import storage
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import DamagedError, InputError
from pipeline.model.artifact import ARTIFACT, CARD, parse_about
from pipeline.registry import models as module
from pipeline.registry.champion import promote_if_better
from pipeline.registry.models import Models, ModelVersion, corpus_references
from pipeline.registry.tracking import Tracking
from tests.registering import SETTINGS, checkpoint, registered

HOUSE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def raced(home: str) -> list[ModelVersion]:
    """Three versions of a model of its own, the last two with equal figures; none has an alias."""
    return [registered(home, size, "raced") for size in (16, 24, 24)]


# What a version says of itself.


def test_a_version_says_what_it_is_and_where_it_comes_from(home: str, models: Models) -> None:
    version = models.resolve("models:/texts/1")
    corpus = open_corpus(home, "texts")
    files = models.download(version)
    about = parse_about(files, "texts")
    assert about.sampling is not None
    assert version == ModelVersion(
        name="texts",
        version="1",
        tags=version.tags,
        created=version.created,
        mlflow_run_id=version.mlflow_run_id,
        model_id=version.model_id,
        description=version.description,
    )
    assert version.uri == "models:/texts/1"
    assert version.number == 1
    assert version.digests == {file: storage.sha256_bytes(files[file]) for file in ARTIFACT}
    assert version.tags == {
        **{f"sha256.{file}": digest for file, digest in version.digests.items()},
        "sha256.MODEL_CARD.md": storage.sha256_bytes(version.description.encode()),
        "corpus": f"texts@{corpus.version}",
        "corpus_fingerprint": corpus.fingerprint,
        "documents_sha256": corpus.manifest.documents_sha256,
        "unreasonable.run_id": "run-16",
        "val_loss": repr(4 / 16),
        "val_bits_per_byte": repr(60 / 16),
        "precision": about.sampling.precision,
        "nats_fp32": repr(about.sampling.nats_fp32),
        "nats_int8": repr(about.sampling.nats_int8),
        "train_settings": SETTINGS,
        "git_commit": version.tags["git_commit"],
    }
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=HOUSE, capture_output=True, text=True, check=False
    )
    if commit.returncode == 0:
        assert version.tags["git_commit"] == commit.stdout.strip()
    assert version.description.startswith("# texts\n")


def test_a_registration_is_found_again_by_run_and_weights(models: Models) -> None:
    version = models.resolve("models:/texts/1")
    weights = models.download(version)["weights.safetensors"]
    assert models.registered_as("texts", "run-16", weights) == version
    assert models.registered_as("texts", "run-24", weights) is None
    assert models.registered_as("texts", "run-16", weights + b" ") is None
    assert models.registered_as("nope", "run-16", weights) is None


def test_a_model_that_another_job_has_just_made_is_used(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missed(name: str) -> None:
        raise MlflowException("not yet", RESOURCE_DOES_NOT_EXIST)

    monkeypatch.setattr(models.client, "get_registered_model", missed)
    models.ensure("texts")


def test_an_evaluation_is_shown_beside_the_version_as_figures_on_its_text(models: Models) -> None:
    version = models.resolve("models:/texts/1")
    before = models.client.get_logged_model(version.model_id).metrics or []
    shown = {"evaluate/val_bits_per_byte": 1.5, "evaluate/val_nats": 1.04}
    models.log_evaluation(version, shown, "val of texts@1", "0123456789ab")
    after = models.client.get_logged_model(version.model_id).metrics or []
    assert len(after) == len(before) + 2
    found = {metric.key: metric for metric in after}
    for name, value in shown.items():
        assert found[name].value == value
        assert (found[name].dataset_name, found[name].dataset_digest) == (
            "val of texts@1",
            "0123456789ab",
        )


def test_a_version_is_a_logged_model_with_its_files_its_run_and_our_code(
    home: str, models: Models
) -> None:
    version = models.resolve("models:/texts/1")
    logged = models.client.get_logged_model(version.model_id)
    assert logged.source_run_id == version.mlflow_run_id
    (folder,) = Path(home, "mlartifacts").rglob(f"*{version.model_id}/artifacts")
    names = {path.name for path in (folder / "artifacts").iterdir()}
    assert names == {*ARTIFACT, CARD}
    code = {str(path.relative_to(folder / "code")) for path in folder.glob("code/**/*.py")}
    ours = {str(path.relative_to(HOUSE)) for path in HOUSE.glob("pipeline/**/*.py")}
    assert "pipeline/registry/pyfunc.py" in code
    assert code == ours
    loaded = mlflow.models.get_model_info(str(folder))
    params = {param.name: (param.dtype.name, param.default) for param in loaded.signature.params}
    assert params == {
        "num_chars": ("long", 200),
        "temperature": ("double", 1.0),
        "top_k": ("long", 0),
        "top_p": ("double", 1.0),
        "stop": ("string", ""),
        "lines": ("long", 0),
        "seed": ("long", 1),
    }
    wanted = (folder / "requirements.txt").read_text().splitlines()
    packages = ["fsspec", "mlflow", "numba", "numpy", "safetensors", "torch"]
    assert [line.partition("==")[0] for line in wanted] == packages
    assert all("==" in line and "+" not in line for line in wanted)


@pytest.mark.parametrize(
    ("source", "model_id"),
    [("models:/m-0123", "m-0123"), ("models:/texts/1", ""), ("/path/m-0123", ""), ("", "")],
)
def test_a_source_may_name_a_logged_model(source: str, model_id: str) -> None:
    assert module._logged_model(source) == model_id


# Which version.


def test_versions_are_found_by_number_by_alias_and_by_name(
    models: Models, raced: list[ModelVersion]
) -> None:
    first, second, third = raced
    assert models.champion("raced") is None
    assert models.named("raced") == third  # no champion: the newest
    models.promote(first)
    assert models.champion("raced") == first
    assert models.named("raced") == first
    assert models.resolve("models:/raced@champion") == first
    assert models.resolve("models:/raced/2") == second
    for reference in ("raced@champion", "models:/raced@champion", "models:/raced/1", "raced/1"):
        assert models.named(reference) == first
    assert models.aliases("raced") == {"champion": "1"}
    models.client.delete_registered_model_alias("raced", "champion")


def test_ten_is_newer_than_nine(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [
        ModelVersion("x", number, {"train_settings": "s", "corpus_fingerprint": "f"})
        for number in ("9", "10", "8")
    ]
    monkeypatch.setattr(models, "versions", lambda wanted="": versions)
    assert models.named("x").version == "10"
    newest = models.trained("x", "s", "f")
    assert newest is not None
    assert newest.version == "10"
    from_run = models.registered_from("run")
    assert from_run is not None
    assert from_run.version == "10"


def test_all_pages_of_versions_are_read(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    search = models.client.search_model_versions
    asked: list[str | None] = []

    def one_a_page(wanted: str, page_token: str | None) -> Any:
        asked.append(page_token)
        return search(wanted, max_results=1, page_token=page_token)

    monkeypatch.setattr(models.client, "search_model_versions", one_a_page)
    assert {version.uri for version in models.versions_of("texts")} == {
        "models:/texts/1",
        "models:/texts/2",
    }
    assert len(asked) >= 2
    assert asked[0] is None


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "models:/nope@champion",
            r"no model models:/nope@champion at \S+ \(.*\); registered are: ",
        ),
        ("models:/texts/99", "no model models:/texts/99"),
        (
            "models:/texts@nobody",
            "no model models:/texts@nobody at sqlite:.*registered are:.*texts",
        ),
        ("models:/texts", "'models:/texts' is neither models:/NAME@ALIAS nor models:/NAME/VERSION"),
        ("models:/texts/one", "neither"),
        ("models:/texts@", "neither"),
        ("models:/@champion", "neither"),
        ("models:/", "neither"),
    ],
)
def test_what_does_not_exist_is_one_clear_error(models: Models, uri: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        models.resolve(uri)


def test_a_name_that_nobody_registered_says_what_there_is(models: Models) -> None:
    with pytest.raises(
        InputError, match=r"no model models:/nobody@champion.*registered are: .*tex"
    ):
        models.named("nobody")


def test_a_version_is_found_by_its_run(
    models: Models, raced: list[ModelVersion], home: str
) -> None:
    first, _, third = raced
    assert models.registered_from(first.mlflow_run_id) == first
    assert models.registered_from("run-24") is not None
    theirs = registered(home, 40, "by-run")
    assert models.registered_from("run-40") == theirs
    assert models.registered_from(third.mlflow_run_id) == third
    assert models.registered_from("0" * 32) is None
    for hostile in ("", "x' or 'a' = 'a", "run 16", "run-16' or run_id = 'x"):
        assert models.registered_from(hostile) is None


def test_what_was_trained_is_found_by_its_settings_and_corpus(models: Models, home: str) -> None:
    fingerprint = open_corpus(home, "texts").fingerprint
    found = models.trained("texts", SETTINGS, fingerprint)
    assert found is not None
    assert found.uri == "models:/texts/2"  # the newest of both
    assert models.trained("texts", "other", fingerprint) is None
    assert models.trained("texts", SETTINGS, "f" * 64) is None
    assert models.trained("nobody", SETTINGS, fingerprint) is None


def test_an_equal_figure_leaves_the_champion_and_a_better_one_replaces_it(
    home: str, models: Models, raced: list[ModelVersion]
) -> None:
    """The rule itself has tests/registry/test_champion.py; here it moves a real alias."""
    corpus = open_corpus(home, "texts")
    first, second, third = raced
    champions = []
    for challenger, is_promoted in ((first, True), (second, True), (third, False), (first, False)):
        assert promote_if_better(models, challenger, corpus, 4) is is_promoted
        champion = models.champion("raced")
        assert champion is not None
        champions.append(champion.uri)
    assert champions == [first.uri, second.uri, second.uri, second.uri]
    models.client.delete_registered_model_alias("raced", "champion")


def test_a_corpus_knows_the_models_that_learned_it(home: str, tmp_path: Path) -> None:
    version = open_corpus(home, "texts").version
    references = corpus_references(home, "texts")
    assert list(references) == [version]
    assert {"model texts/1", "model texts/2"} <= set(references[version])
    assert corpus_references(home, "other") == {}
    assert corpus_references(str(tmp_path), "texts") == {}
    assert not (tmp_path / "mlflow.db").exists()  # to ask makes no registry


# What is trusted of a version's files.


@pytest.fixture
def stored(home: str, models: Models) -> Iterator[tuple[ModelVersion, Path]]:
    """A version, and the folder of its files, put right again after the test."""
    version = models.resolve("models:/texts/1")
    (folder,) = Path(home, "mlartifacts").rglob(f"*{version.model_id}/artifacts/artifacts")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    yield version, folder
    for path, data in before.items():
        path.write_bytes(data)


def test_a_tampered_file_is_refused_by_name(
    models: Models, stored: tuple[ModelVersion, Path]
) -> None:
    version, folder = stored
    good = models.download(version)
    assert set(good) == set(ARTIFACT)
    for name in ARTIFACT:
        (folder / name).write_bytes(good[name] + b" ")
        with pytest.raises(DamagedError, match=name):
            models.download(version)
        (folder / name).write_bytes(good[name])
    weights = folder / "weights.safetensors"
    for tampered in (good[weights.name][:-4] + b"\0\0\0\1", pickle.dumps({"weights": [1]})):
        weights.write_bytes(tampered)
        with pytest.raises(DamagedError, match=r"weights\.safetensors"):
            models.download(version)


def test_a_version_without_digests_is_not_believed(models: Models) -> None:
    version = models.resolve("models:/texts/1")
    bare = ModelVersion(version.name, version.version, {})
    assert bare.digests == dict.fromkeys(ARTIFACT, "")
    with pytest.raises(DamagedError, match=r"weights\.safetensors does not have the digest"):
        models.download(bare)


def test_an_artifact_store_that_is_away_is_one_line(
    models: Models, stored: tuple[ModelVersion, Path]
) -> None:
    version, folder = stored
    away = folder.with_name("away")
    os.rename(folder, away)
    try:
        with pytest.raises(
            InputError, match=r"cannot fetch models:/texts/1/artifacts/\S+: .*store"
        ):
            models.download(version)
    finally:
        os.rename(away, folder)


def test_the_digests_of_a_config_are_of_its_bytes(home: str, models: Models) -> None:
    """A checkpoint's config and a registered one's differ: registration adds two sections."""
    url = checkpoint(home, 16)
    before = json.loads(storage.read_bytes(storage.join(url, "config.json")))
    after = json.loads(models.download(models.resolve("models:/texts/1"))["config.json"])
    assert set(after) - set(before) == {"lineage", "sampling"}
    assert {name: after[name] for name in before} == before


def test_a_server_that_is_down_is_no_missing_champion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    down = Models(Tracking("memory://x"))
    assert down.uri == "http://127.0.0.1:9"
    for ask in (
        lambda: down.champion("texts"),
        lambda: down.resolve("models:/texts/1"),
        down.versions,
        lambda: down.aliases("texts"),
    ):
        with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9 does not answer"):
            ask()
