"""A registry that is not there is not made by looking for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.registry.looking import existing_uri, needs_registry, registry


def contents(folder: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_a_root_without_a_database_stays_without(tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert registry(str(root)) is None
    assert not root.exists()


def test_a_database_is_read_and_not_changed(home: str) -> None:
    before = contents(home)
    models = registry(home)
    assert models is not None
    assert {version.number for version in models.versions_of("texts")} == {1, 2}
    assert contents(home) == before


def test_a_server_is_taken_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert existing_uri("memory://root") == "http://127.0.0.1:1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    assert existing_uri(str(tmp_path)) is None


def test_a_remote_root_needs_a_server() -> None:
    with pytest.raises(InputError, match="set MLFLOW_TRACKING_URI"):
        existing_uri("memory://root")


@pytest.mark.parametrize(
    ("reference", "needed"),
    [
        ("models:/m@champion", True),
        ("runs:/1/model", True),
        ("20260102-030405-abcdef", True),
        ("name", True),
        ("/a/checkpoint", False),
        ("s3://bucket/checkpoint", False),
    ],
)
def test_only_a_checkpoints_url_needs_no_registry(reference: str, needed: bool) -> None:
    assert needs_registry(reference) is needed
