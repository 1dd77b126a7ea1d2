"""Versions: which stay, which go, and what --list says of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline import runs, storage
from pipeline.corpora import retention
from pipeline.corpora.manifest import Corpus, latest

from .conftest import build


def five(tmp_path: Path) -> list[Corpus]:
    """Five versions of corpus `c`, oldest first, an hour apart."""
    made = []
    for number in range(5):
        (tmp_path / "t.txt").write_bytes(b"version %d " % number * 20)
        made.append(build(tmp_path, tmp_path / "t.txt", val=0.0, test=0.0))
        when = 1_700_000_000 + 3600 * number
        os.utime(f"{made[-1].url}/manifest.json", (when, when))
    return made


def there(tmp_path: Path) -> set[str]:
    return {version.corpus.version for version in retention.versions(str(tmp_path), "c")}


def test_the_newest_stay_and_the_rest_goes(tmp_path: Path) -> None:
    made = five(tmp_path)
    assert retention.prune(str(tmp_path), "c", 0) == []
    removed = retention.prune(str(tmp_path), "c", 3)
    assert set(removed) == {made[0].version, made[1].version}
    assert there(tmp_path) == {corpus.version for corpus in made[2:]}
    assert not Path(made[0].url).exists()
    assert latest(str(tmp_path), "c") == made[4].version


def test_pins_runs_and_models_keep_a_version(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = five(tmp_path)
    (Path(made[0].url) / retention.PIN).touch()
    start = {"corpus": {"name": "c", "version": made[1].version}}
    storage.write_json(str(tmp_path / "runs" / "r1" / runs.START), start)
    with caplog.at_level("INFO", "unreasonable"):
        removed = retention.prune(
            str(tmp_path), "c", 1, lambda name: {made[2].version: [f"model {name}/7"]}
        )
    assert removed == [made[3].version]
    assert f"version {made[1].version} stays for run r1" in caplog.text
    assert f"version {made[2].version} stays for model c/7" in caplog.text


def test_nothing_goes_when_the_registry_cannot_say(tmp_path: Path) -> None:
    def away(name: str) -> dict[str, list[str]]:
        raise ConnectionError(name)

    five(tmp_path)
    assert retention.prune(str(tmp_path), "c", 1, away) == []
    assert len(there(tmp_path)) == 5


def test_a_text_that_comes_back_is_the_latest_again(tmp_path: Path) -> None:
    made = five(tmp_path)
    (tmp_path / "t.txt").write_bytes(b"version %d " % 0 * 20)
    assert build(tmp_path, tmp_path / "t.txt", val=0.0, test=0.0).version == made[0].version
    assert retention.prune(str(tmp_path), "c", 1) != []
    assert there(tmp_path) == {made[0].version} == {latest(str(tmp_path), "c")}


def test_a_removal_that_was_killed_is_finished_later(tmp_path: Path) -> None:
    made = five(tmp_path)
    (Path(made[0].url) / "manifest.json").unlink()  # what goes first
    retention.prune(str(tmp_path), "c", 9)
    assert Path(made[0].url).exists()  # it could be a build under way
    for path in Path(made[0].url).iterdir():
        os.utime(path, (1e9, 1e9))
    retention.prune(str(tmp_path), "c", 9)
    assert not Path(made[0].url).exists()


def test_the_catalogue_says_what_there_is(tmp_path: Path) -> None:
    made = five(tmp_path)
    rows = [version.row() for version in retention.catalogue(str(tmp_path))]
    assert [row["version"] for row in rows] == [corpus.version for corpus in reversed(made)]
    assert rows[0]["latest"]
    assert rows[0]["tokens"]["train"] == rows[0]["bytes"] == 200
    json.dumps(rows)
