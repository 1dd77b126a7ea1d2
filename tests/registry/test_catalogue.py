"""Models seen from outside and carried between registries: real SQLite registries, real archives.

The commands that call this have tests/jobs/test_models.py.
"""

from __future__ import annotations

import dataclasses
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs, storage
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import InputError
from pipeline.model.about import Lineage
from pipeline.registry import catalogue
from pipeline.registry.archive import read_archive
from pipeline.registry.catalogue import (
    compare,
    export_model,
    import_model,
    licence_text,
    lineage,
    list_models,
    parameters,
    promote,
)
from pipeline.registry.fetch import registered_artifact
from pipeline.registry.models import Models, ModelVersion
from pipeline.registry.tracking import Tracking
from pipeline.sampler import load_model, sample
from tests.registering import SETTINGS, registered, with_database
from tests.registry.conftest import HOSTILE

GOLDEN = Path(__file__).parents[1] / "golden"


# Listed, promoted, compared.


def test_versions_are_listed_by_name_and_number(home: str, models: Models) -> None:
    before = time.time()
    one, two = list_models(models, "texts")
    tags = models.resolve("models:/texts/1").tags
    age_s = one.to_json().pop("age_s")
    assert before - models.resolve("models:/texts/1").created <= age_s < 3600
    assert one.to_json() == {
        "name": "texts",
        "version": "1",
        "aliases": [],
        "corpus": f"texts@{open_corpus(home, 'texts').version}",
        "val_bits_per_byte": 60 / 16,
        "val_loss": 4 / 16,
        "precision": tags["precision"],
        "run_id": "run-16",
        "imported_from": "",
        "age_s": age_s,
    }
    assert (two.version, two.run_id) == ("2", "run-24")


def test_a_list_has_all_models_in_order(monkeypatch: pytest.MonkeyPatch, models: Models) -> None:
    given = [
        ModelVersion("b", "1", {}),
        ModelVersion("a", "10", {"precision": "int8", "imported_from": "x/1 in y"}),
        ModelVersion("a", "9", {}),
    ]
    aliases = {"a": {"old": "9", "champion": "10", "best": "10"}, "b": {}}
    monkeypatch.setattr(models, "versions", lambda wanted="": given)
    monkeypatch.setattr(models, "aliases", aliases.__getitem__)
    rows = list_models(models)
    assert [(row.name, row.version, row.aliases) for row in rows] == [
        ("a", "9", ["old"]),
        ("a", "10", ["best", "champion"]),
        ("b", "1", []),
    ]
    # What a version of another origin does not say is empty.
    first = rows[0]
    assert (first.corpus, first.run_id, first.precision) == ("", "", "fp32")
    assert (first.val_bits_per_byte, first.val_loss) == (None, None)
    assert (rows[1].precision, rows[1].imported_from) == ("int8", "x/1 in y")


def test_a_name_that_nobody_registered_is_refused(models: Models) -> None:
    with pytest.raises(
        InputError, match=r"no model 'nobody' at sqlite:\S+; `models.py list` shows"
    ):
        list_models(models, "nobody")


def test_an_empty_registry_is_an_empty_list(tmp_path: Path) -> None:
    assert list_models(Models(Tracking(with_database(str(tmp_path))))) == []


def test_whoever_promotes_says_who_was_champion(home: str, models: Models) -> None:
    one, two = (registered(home, size, "promoted") for size in (24, 16))
    assert promote(models, one).to_json() == {
        "model": "models:/promoted/1",
        "alias": "champion",
        "before": None,
    }
    assert promote(models, two).before == "models:/promoted/1"  # though its figure is worse
    assert models.named("promoted").version == "2"
    assert list_models(models, "promoted")[1].aliases == ["champion"]


def test_two_versions_compare_by_their_registered_figures(home: str, models: Models) -> None:
    one, two = (models.resolve(f"models:/texts/{number}") for number in (1, 2))
    assert compare(models, one, two, home).to_json() == {
        "text": f"val of texts@{open_corpus(home, 'texts').version}",
        "figures": "registered",
        "val_bits_per_byte": {"models:/texts/1": 3.75, "models:/texts/2": 2.5},
        "better": "models:/texts/2",
        "by": 1.25,
        "may_have_learnt": {},
    }
    assert compare(models, two, one, home).better == "models:/texts/2"
    assert compare(models, two, one, home).by == 1.25
    assert compare(models, one, one, home).better == "models:/texts/1"


@pytest.mark.parametrize("fingerprint", ["same", "other"])
def test_two_versions_compare_on_a_text_when_one_is_named_or_they_learned_two(
    home: str, models: Models, fingerprint: str
) -> None:
    one, two = (models.resolve(f"models:/texts/{number}") for number in (1, 2))
    if fingerprint == "other":
        two.tags["corpus_fingerprint"] = "f" * 64
    found = compare(models, one, two, home, "texts" if fingerprint == "same" else "")
    version = open_corpus(home, "texts").version
    assert (found.figures, found.text) == ("scored now", f"val of texts@{version}")
    scores = list(found.val_bits_per_byte.values())
    assert list(found.val_bits_per_byte) == ["models:/texts/1", "models:/texts/2"]
    assert all(5 < score < 9 for score in scores)  # untrained
    assert found.by == abs(scores[0] - scores[1])
    assert found.better == ("models:/texts/1" if scores[0] <= scores[1] else "models:/texts/2")
    # What learned a version that is not there any more is not known to have left this text alone.
    unproven = {"models:/texts/2": "nothing says how its corpus version was split"}
    assert found.may_have_learnt == (unproven if fingerprint == "other" else {})


def test_a_model_has_as_many_parameters_as_its_network(models: Models) -> None:
    version = models.resolve("models:/texts/1")
    shapes = registered_artifact(models, version).about.model.shapes().values()
    expected = 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        expected += size
    assert parameters(models, version) == expected


# Lineage.


def test_a_model_shows_its_lineage_down_to_its_sources(
    home: str, texts: Path, models: Models
) -> None:
    version = models.resolve("models:/texts/1")
    shown = lineage(models, version, home, 3).to_json()
    corpus = open_corpus(home, "texts")
    assert [document["path"] for document in shown["documents"]] == [
        ".hidden.py",
        "_private/keyword.py",
        "abc.py",
    ]
    assert shown == {
        "model": "models:/texts/1",
        "imported_from": "",
        "run": {"run_id": "run-16", "mlflow_run_id": version.mlflow_run_id, "url": None},
        "corpus": {
            "name": "texts",
            "version": corpus.version,
            "fingerprint": corpus.fingerprint,
            "url": corpus.url,
        },
        "sources": {
            "sources": [str(texts)],
            "unit": "byte",
            "documents": 14,
            "documents_sha256": corpus.manifest.documents_sha256,
            "bytes": corpus.manifest.bytes.text,
            "url": HOSTILE,
            "licence": "PSF-2.0",
        },
        "documents": shown["documents"],
        "weights_sha256": version.digests["weights.safetensors"],
        "train": {"optimizer": "adam", "seed": 1},
    }
    assert len(lineage(models, version, home).documents) == 10
    assert len(lineage(models, version, home, None).documents) == 14
    # The digest of a document is the same wherever it is read.
    config = CorpusConfig(name="one", source=str(texts / "abc.py"), val=0.0, test=0.0)
    build_corpus(config, home)
    ((_, digest),) = catalogue._documents(open_corpus(home, "one"))
    assert shown["documents"][2]["sha256"] == digest


def test_a_run_has_a_url_when_it_is_still_under_the_root(home: str, models: Models) -> None:
    version = models.resolve("models:/texts/2")
    start = storage.join(runs.run_url(home, "run-24"), "start.json")
    storage.write_bytes(start, b"{}")
    try:
        assert lineage(models, version, home).run_url == runs.run_url(home, "run-24")
    finally:
        storage.remove(start)


def test_a_corpus_that_is_gone_or_another_shows_no_documents(
    home: str, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = models.resolve("models:/texts/1")
    gone = lineage(models, version, str(tmp_path)).to_json()
    assert (gone["corpus"]["url"], gone["documents"]) == (None, [])
    assert gone["corpus"]["version"] == open_corpus(home, "texts").version
    monkeypatch.setattr(catalogue, "open_version", lambda url: open_corpus(home, "one"))
    other = CorpusConfig(name="one", source=[str(tmp_path / "t")], val=0.0, test=0.0)
    (tmp_path / "t").write_bytes(b"text")
    build_corpus(other, home)
    assert lineage(models, version, home).corpus_url is None


# Carried from one registry to another.


@pytest.fixture
def there(tmp_path: Path) -> Models:
    """An empty registry elsewhere."""
    return Models(Tracking(with_database(str(tmp_path / "there"))))


def test_a_model_goes_from_one_registry_to_another(
    home: str, there: Models, tmp_path: Path
) -> None:
    models = Models(Tracking(home))
    version = models.resolve("models:/texts/2")
    archive = str(tmp_path / "texts.zip")
    exported = export_model(models, version, home, archive)
    again = export_model(models, version, home, f"{archive}2")
    assert exported.to_json() == {
        "model": "models:/texts/2",
        "archive": archive,
        "sha256": storage.sha256(archive),
        "documents": 14,
    }
    assert again.sha256 == exported.sha256
    with zipfile.ZipFile(archive) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    assert members["LICENCE.txt"].decode() == (
        "The weights of texts/2 were made from text with this licence: PSF-2.0\n"
        f"The text is from: {HOSTILE}\n"
        "Whoever shares the weights or their samples should look at what that licence asks for.\n"
    )
    assert members["MODEL_CARD.md"].decode() == version.description
    assert json.loads(members["lineage.json"]) == lineage(models, version, home, None).to_json()
    ours = registered_artifact(models, version)

    root = str(tmp_path / "there")
    Tracking(root)  # MLflow downloads from the registry that was opened last
    imported = import_model(there, archive, sha256=exported.sha256)
    assert imported.uri == "models:/texts/1"
    assert there.champion("texts") is None  # no alias moves
    assert there.named("texts") == imported
    theirs = registered_artifact(there, imported)
    assert ours.files == theirs.files
    assert imported.description == version.description
    own = ("git_commit", "unreasonable.run_id")
    kept = {key: value for key, value in version.tags.items() if key not in own}
    assert imported.tags | kept == imported.tags
    assert imported.tags["imported_from"] == f"texts/2 in {archive}"
    assert imported.tags["train_settings"] == SETTINGS
    run = there.client.get_run(imported.mlflow_run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "import texts")
    assert lineage(there, imported, root).imported_from == f"texts/2 in {archive}"
    assert import_model(there, archive, "borrowed").uri == "models:/borrowed/1"
    assert import_model(there, archive).uri == "models:/texts/2"

    written = []
    for uri, place in (("models:/texts/2", home), ("models:/texts/1", root)):
        written.append(sample(load_model(uri, place), "def ", num_chars=200))
    assert written[0] == written[1]


def test_an_archive_of_older_code_is_registered_with_its_settings(there: Models) -> None:
    """Its digest of settings finds the model again when the same is to be trained here."""
    from pipeline.training.config import settings_digest

    carried = read_archive(str(GOLDEN / "archive.zip"))
    imported = import_model(there, str(GOLDEN / "archive.zip"))
    settings = json.loads(carried.files["config.json"])["train"]
    assert imported.tags["train_settings"] == settings_digest(settings)
    assert imported.tags["imported_run_id"] == "golden"


def test_an_import_is_no_model_of_the_run_here_that_has_its_id(
    home: str, models: Models, there: Models, tmp_path: Path
) -> None:
    archive = str(tmp_path / "a.zip")
    root = str(tmp_path / "there")
    Tracking(home)  # MLflow downloads from the registry that was opened last
    export_model(models, models.resolve("models:/texts/1"), home, archive)
    Tracking(root)
    imported = import_model(there, archive)
    assert there.registered_from("run-16") is None
    storage.write_bytes(storage.join(runs.run_url(root, "run-16"), "start.json"), b"{}")
    origin = lineage(there, imported, root)
    assert (origin.run_id, origin.run_url) == ("run-16", None)


def test_what_an_archive_claims_decides_no_comparison(
    home: str, models: Models, tmp_path: Path
) -> None:
    """Both are scored, on a text that is here."""
    one = models.resolve("models:/texts/1")
    boast = dataclasses.replace(
        models.resolve("models:/texts/2"),
        tags={
            **models.resolve("models:/texts/2").tags,
            "imported_from": "x",
            "val_bits_per_byte": "0.001",
        },
    )
    found = compare(models, one, boast, home)
    assert found.figures == "scored now"
    assert found.val_bits_per_byte[boast.uri] > 5


@pytest.mark.parametrize("figure", ["nan", "inf", "-inf", "good", ""])
def test_a_figure_that_is_no_number_is_none(
    models: Models, monkeypatch: pytest.MonkeyPatch, figure: str
) -> None:
    odd = ModelVersion("odd", "1", {"val_bits_per_byte": figure, "val_loss": figure})
    monkeypatch.setattr(models, "versions_of", lambda name: [odd])
    monkeypatch.setattr(models, "aliases", lambda name: {})
    (row,) = list_models(models, "odd")
    assert (row.val_bits_per_byte, row.val_loss) == (None, None)
    with pytest.raises(InputError, match="does not say what it learned; give --corpus NAME"):
        compare(models, odd, odd, "/nowhere")


def test_an_import_that_fails_leaves_a_failed_run(
    there: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise OSError("full")

    monkeypatch.setattr(there, "register", fail)
    with pytest.raises(OSError, match="full"):
        import_model(there, str(GOLDEN / "archive.zip"))
    (run,) = there.client.search_runs([there.tracking.experiment("bytes")])
    assert run.info.status == "FAILED"


def test_another_archive_than_the_one_that_was_meant_is_not_registered(there: Models) -> None:
    with pytest.raises(InputError, match="has SHA-256"):
        import_model(there, str(GOLDEN / "archive.zip"), sha256="0" * 64)
    assert there.versions() == []


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", "a\nb", "a\x00b"])
def test_a_name_that_mlflow_or_its_filters_would_misread_is_refused(
    there: Models, name: str
) -> None:
    with pytest.raises(InputError, match="cannot be registered: give --name without"):
        import_model(there, str(GOLDEN / "archive.zip"), name)


def test_a_licence_that_nobody_stated_is_said_to_be_so() -> None:
    version = ModelVersion("m", "3", {})
    assert licence_text(version, Lineage(sources=("one", "two"))).startswith(
        "The weights of m/3 were made from text with this licence: not stated\n"
        "The text is from: one, two\n"
    )
    assert "from: https://x\n" in licence_text(version, Lineage(sources=("one",), url="https://x"))
