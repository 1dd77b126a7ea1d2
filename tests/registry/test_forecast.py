"""What an action would do, compared with the action; the registry stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.registry import catalogue
from pipeline.registry.forecast import forecast
from pipeline.registry.models import Models
from tests.registry.test_looking import contents


def said(action: str, root: str, **values: Any) -> dict[str, Any]:
    return forecast(action, values, root).to_json()


def test_promoting_names_the_champion_before(home: str, models: Models) -> None:
    before = contents(home)
    found = said("promote", home, model="texts/1")
    assert found["does"] == "makes models:/texts/1 the champion"
    assert (found["changes"], found["replaces"]) == (True, None)
    assert contents(home) == before
    assert models.champion("texts") is None


def test_promoting_a_champion_again_does_nothing(
    home: str, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {version.number: version for version in models.versions_of("texts")}
    monkeypatch.setattr(Models, "champion", lambda self, name: versions[1])
    assert not said("promote", home, model="texts/1")["changes"]
    other = said("promote", home, model="texts/2")
    assert (other["changes"], other["replaces"]) == (True, "models:/texts/1")


def test_an_archive_is_forecast_on_its_way_out_and_in(
    home: str, models: Models, tmp_path: Path
) -> None:
    archive = str(tmp_path / "m.zip")
    out = said("export", home, model="texts/2", archive=archive)
    assert out["models"] == ("models:/texts/2",)
    assert out["replaces"] is None
    assert not Path(archive).exists()
    catalogue.export_model(models, models.named("texts/2"), home, archive)
    assert said("export", home, model="texts/2", archive=archive)["replaces"] == archive
    before = contents(home)
    into = said("import", home, archive=archive, name="", sha256="")
    assert into["models"] == ("models:/texts/3",)
    fresh = said("import", str(tmp_path / "root"), archive=archive, name="new", sha256="")
    assert fresh["models"] == ("models:/new/1",)
    assert not (tmp_path / "root").exists()
    assert contents(home) == before
    for changes, expected in (({"sha256": "ab"}, "has SHA-256"), ({"name": "a/b"}, "model name")):
        with pytest.raises(InputError, match=expected):
            said("import", home, **{"archive": archive, "name": "", "sha256": "", **changes})


def test_comparing_says_on_which_text(home: str) -> None:
    registered = said("compare", home, one="texts/1", other="texts/2", corpus="")
    assert registered["does"].startswith("compares registered figures on val of texts@")
    scored = said("compare", home, one="texts/1", other="texts/2", corpus="texts")
    assert scored["does"].startswith("scores both on ")
    with pytest.raises(InputError, match="no corpus 'nope'"):
        said("compare", home, one="texts/1", other="texts/2", corpus="nope")


def test_reading_actions_change_nothing(home: str) -> None:
    assert said("list", home, name="")["does"] == f"lists versions of all models under {home}"
    found = said("show", home, model="texts", documents=3)
    assert found["models"] == ("models:/texts/2",)
    assert not found["changes"]


def test_a_model_that_is_not_there_is_refused(home: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model models:/nope@champion"):
        said("promote", home, model="nope")
    with pytest.raises(InputError, match="nothing is registered under"):
        said("promote", str(tmp_path / "empty"), model="texts")
    assert not (tmp_path / "empty").exists()
