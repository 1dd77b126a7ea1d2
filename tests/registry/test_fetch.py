"""A model by whatever a person may call it: an alias, a version, a run, a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import runs, storage
from pipeline.errors import DamagedError, InputError
from pipeline.model.artifact import ARTIFACT, read_artifact
from pipeline.registry.catalogue import export_model
from pipeline.registry.fetch import fetch_model, registered_artifact
from pipeline.registry.models import Models
from tests.registering import checkpoint, registered

STATE = b'{"format": 2, "val_loss": 2.0}'
REMOTE = "memory://a-root-without-a-tracking-server"


def test_a_registered_model_is_fetched_by_version_alias_and_run(home: str, models: Models) -> None:
    version = registered(home, 32, "fetched")
    models.promote(version)
    ours = version.tags["unreasonable.run_id"]
    theirs = version.mlflow_run_id
    whole = registered_artifact(models, version)
    assert (whole.name, whole.version, whole.uri) == ("fetched", "1", "models:/fetched/1")
    assert set(whole.files) == set(ARTIFACT)
    assert whole.digests == version.digests
    for reference in (
        "models:/fetched/1",
        "models:/fetched@champion",
        ours,
        theirs,
        f"runs:/{theirs}/model",
        f"runs:/{ours}",
    ):
        assert fetch_model(reference, home) == whole, reference


def test_a_bare_name_is_the_champion_else_the_newest(home: str, models: Models) -> None:
    """As `jobs/models.py` takes it, and with models:/ before it."""
    first = registered(home, 16, "bare")
    second = registered(home, 24, "bare")
    for reference in ("bare", "models:/bare", "bare/2", "models:/bare/2"):
        assert fetch_model(reference, home).uri == second.uri == models.named(reference).uri
    models.promote(first)
    for reference in ("bare", "models:/bare", "bare@champion", "bare/1"):
        assert fetch_model(reference, home).uri == first.uri == models.named(reference).uri


def test_a_name_that_is_also_a_folder_here_says_which_is_meant(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "unreasonable")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()  # no model's: such as a folder of sources
    assert fetch_model("texts", home).uri == "models:/texts/2"
    assert caplog.messages == ["texts: the registered model, not what is called so in this folder"]
    files = read_artifact(checkpoint(home, 16)).files
    for folder in ("texts", "texts/1", "other"):
        runs.write_checkpoint(str(tmp_path / folder), files)
    both = r"registered model at sqlite:\S+ and a model's folder here; give models:/{0} or \./{0}\."
    for word in ("texts", "texts/1"):
        with pytest.raises(InputError, match=both.format(word)):
            fetch_model(word, home)
        assert fetch_model(f"./{word}", home).uri == str(tmp_path / word)
    assert fetch_model("models:/texts", home).uri == "models:/texts/2"
    assert fetch_model("other", home).uri == str(tmp_path / "other")


def test_an_archive_is_read_where_it_lies(
    home: str, tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = models.named("texts/1")
    export_model(models, version, home, str(tmp_path / "texts.zip"))
    monkeypatch.chdir(tmp_path)
    for reference in ("texts.zip", "./texts.zip", f"{tmp_path}/texts.zip"):
        found = fetch_model(reference, REMOTE)
        assert (found.name, found.version) == ("texts", "1")
        assert found.uri == str(tmp_path / "texts.zip")
        assert found.files == registered_artifact(models, version).files
    Path("texts.zip").write_bytes(b"PK")
    with pytest.raises(DamagedError, match=r"texts\.zip is not a whole zip archive"):
        fetch_model("texts.zip", REMOTE)


def test_a_question_makes_no_database(tmp_path: Path, home: str) -> None:
    root = str(tmp_path / "root")
    for reference in ("models:/texts", "texts", "texts/1", "runs:/20260101-000000-abcdef"):
        with pytest.raises(InputError, match="nothing is registered under this root yet"):
            fetch_model(reference, root)
    assert not (tmp_path / "root" / "mlflow.db").exists()
    # A run's checkpoints are there without it.
    files = {**read_artifact(checkpoint(home, 16)).files, "state.json": STATE}
    url = storage.join(runs.run_url(root, "20260101-000000-abcdef"), runs.checkpoint_name(1))
    runs.write_checkpoint(url, files)
    assert fetch_model("20260101-000000-abcdef", root).uri == url


def test_a_run_without_a_registered_model_is_its_best_checkpoint(tmp_path: Path, home: str) -> None:
    run = "20260101-000000-abcdef"
    folder = runs.run_url(home, run)
    files = {
        file: storage.read_bytes(storage.join(checkpoint(home, 16), file)) for file in ARTIFACT
    }
    for step, val_loss in ((1, 3.0), (2, 2.0), (3, 2.5)):
        state = f'{{"format": 2, "val_loss": {val_loss}}}'.encode()
        url = storage.join(folder, runs.checkpoint_name(step))
        runs.write_checkpoint(url, {**files, "state.json": state})
    best = f"{folder}/checkpoint-00000002"
    assert fetch_model(run, home).uri == best
    assert fetch_model(f"runs:/{run}", home).uri == best


def test_a_checkpoints_folder_needs_no_tracking_server(home: str) -> None:
    url = checkpoint(home, 16)
    found = fetch_model(url, REMOTE)
    assert (found.name, found.version, found.uri) == ("run-16", "checkpoint-00000001", url)
    assert found.files["weights.safetensors"] == storage.read_bytes(f"{url}/weights.safetensors")


def test_a_relative_folder_is_a_folder_here(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = checkpoint(home, 16)
    monkeypatch.chdir(home)
    assert fetch_model("runs/run-16/checkpoint-00000001", REMOTE).uri == url


def test_a_chained_url_is_a_folder_too() -> None:
    with pytest.raises(InputError, match=r"no complete checkpoint at simplecache::\S+/nowhere"):
        fetch_model("simplecache::nowhere", REMOTE)


def test_a_tampered_checkpoint_is_refused_by_name(home: str) -> None:
    url = checkpoint(home, 16)
    storage.write_bytes(f"{url}/vocab.json", b"{}")
    try:
        with pytest.raises(DamagedError, match=r"vocab\.json"):
            fetch_model(url, home)
    finally:
        checkpoint(home, 16)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("models:/nope@champion", "registered are: .*texts"),
        ("models:/texts/99", "no model models:/texts/99"),
        ("models:/texts/one", "neither"),
        ("models:/", "neither"),
        ("text", r"no model 'text': .*; did you mean texts\? registered are: .*texts"),
        ("texts@nobody", "no model models:/texts@nobody"),
        ("text/1", r"did you mean texts\?"),
        ("texts/99", "no model models:/texts/99"),
        ("it's", 'no model "it\'s"'),
        ("models:/texts@nobody", "no model models:/texts@nobody"),
        ("/nowhere", "no complete checkpoint at /nowhere"),
        (
            "runs:/0123456789abcdef/model",
            r"from run '0123456789abcdef' at sqlite:\S+, and \S+ has no checkpoint of it\.",
        ),
        ("20260101-000000-000000", "no model was registered from run '20260101-000000-000000'"),
        ("", "model is empty; give a registered model's name"),
        (" ", "model is empty"),
        ("runs:", "no model was registered from run ''"),
    ],
)
def test_an_unknown_model_is_one_clear_error(home: str, reference: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fetch_model(reference, home)
