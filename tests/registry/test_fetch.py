"""A model by whatever a person may call it: an alias, a version, a run, a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import runs, storage
from pipeline.errors import DamagedError, InputError
from pipeline.model.artifact import ARTIFACT
from pipeline.registry.fetch import fetch_model, registered_artifact
from pipeline.registry.models import Models
from tests.registering import checkpoint, registered

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
        ("models:/texts", "neither"),
        ("models:/texts@nobody", "no model models:/texts@nobody"),
        ("/nowhere", "no complete checkpoint at /nowhere"),
        (
            "runs:/0123456789abcdef/model",
            r"from run '0123456789abcdef' at sqlite:\S+, and \S+ has no checkpoint of it\.",
        ),
        ("20260101-000000-000000", "no model was registered from run '20260101-000000-000000'"),
        ("", "no model was registered from run ''"),
        ("runs:", "no model was registered from run ''"),
    ],
)
def test_an_unknown_model_is_one_clear_error(home: str, reference: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fetch_model(reference, home)
