"""Versions: which stay, which go, and what --list says of them."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs, storage
from pipeline.corpora import leases, retention
from pipeline.corpora.manifest import Corpus, latest, publish
from pipeline.corpora.retention import Version
from pipeline.errors import DamagedError, InputError

from .conftest import build

NOW = 1_700_000_000.0
HOUR = 3600
DAY = 24 * HOUR
PIN = "PIN"  # a file that a person puts in a version's folder


@pytest.fixture(scope="module")
def _five(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Corpus]]:
    folder = tmp_path_factory.mktemp("five")
    made = []
    for number in range(5):
        (folder / "t.txt").write_bytes(b"version %d " % number * 20)
        made.append(build(folder, folder / "t.txt", val=0.25, test=0.0))
    return folder, made


@pytest.fixture
def five(_five: tuple[Path, list[Corpus]], tmp_path: Path) -> list[Corpus]:
    """Five versions of corpus `c`, oldest first, published an hour apart; the last one just now."""
    folder, made = _five
    shutil.copytree(folder / "corpora", tmp_path / "corpora")
    copies = []
    for number, corpus in enumerate(made):
        url = str(tmp_path / "corpora" / "c" / corpus.version)
        copies.append(Corpus(url, corpus.manifest, corpus.vocab))
        age(Path(url), HOUR * (4 - number))
    return copies


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def age(folder: Path, seconds: float) -> None:
    """Make a version's files as old as this."""
    for path in folder.iterdir():
        os.utime(path, (NOW - seconds, NOW - seconds))


def left(tmp_path: Path) -> list[str]:
    return [version.corpus.version for version in retention.versions(str(tmp_path), "c")]


def names(these: list[Corpus]) -> list[str]:
    return [corpus.version for corpus in these]


@pytest.mark.parametrize("keep", [1, 3, 4, 5, 9])
def test_the_newest_stay_and_the_rest_goes(
    five: list[Corpus], tmp_path: Path, keep: int, caplog: pytest.LogCaptureFixture
) -> None:
    newest_first = five[::-1]
    with caplog.at_level("INFO", "unreasonable"):
        removed = retention.prune(str(tmp_path), "c", keep)
    assert removed == names(newest_first[keep:])
    assert left(tmp_path) == names(newest_first[:keep])
    assert latest(str(tmp_path), "c") == five[4].version
    for corpus in newest_first[keep:]:
        assert not Path(corpus.url).exists()
        line = f"corpus c: version {corpus.version} removed, there are {keep} newer ones"
        assert line in caplog.messages


def test_keeping_none_keeps_all(five: list[Corpus], tmp_path: Path) -> None:
    assert retention.prune(str(tmp_path), "c", 0) == []
    assert left(tmp_path) == names(five[::-1])


def test_fewer_than_none_cannot_be_kept(five: list[Corpus], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="keep is -1; it must be at least 0"):
        retention.prune(str(tmp_path), "c", -1)
    assert left(tmp_path) == names(five[::-1])


def test_what_a_living_build_writes_stays(five: list[Corpus], tmp_path: Path) -> None:
    """A version whose text has come back, and half a version."""
    (Path(five[1].url) / "manifest.json").unlink()
    age(Path(five[1].url), 2 * DAY)
    with leases.staging(str(tmp_path), "one") as one, leases.staging(str(tmp_path), "two") as two:
        one.claim(five[0].url)
        two.claim(five[1].url)
        assert retention.prune(str(tmp_path), "c", 2) == [five[2].version]
        assert Path(five[1].url).exists()
    assert retention.prune(str(tmp_path), "c", 2) == [five[0].version]
    assert not Path(five[1].url).exists()


def test_what_became_the_newest_meanwhile_stays(five: list[Corpus], tmp_path: Path) -> None:
    def models(name: str) -> dict[str, list[str]]:
        publish(five[0].url, five[0].manifest)  # by another build
        return {}

    assert retention.prune(str(tmp_path), "c", 4, models) == []
    assert latest(str(tmp_path), "c") == five[0].version


def test_files_that_killed_builds_were_writing_are_swept(
    five: list[Corpus], tmp_path: Path
) -> None:
    home = tmp_path / "corpora" / "c"
    places = (tmp_path, home, Path(five[0].url))
    for folder in places:
        for file, written in ((".writing-old", NOW - DAY - 1), (".writing-new", NOW)):
            (folder / file).write_bytes(b"")
            os.utime(folder / file, (written, written))
    retention.prune(str(tmp_path), "c", 0)
    for folder in places:
        assert not (folder / ".writing-old").exists()
        assert (folder / ".writing-new").exists()


def test_pins_runs_and_models_keep_a_version(
    five: list[Corpus], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = str(tmp_path)
    (Path(five[0].url) / PIN).touch()
    for run, name, number in (("r1", "c", 1), ("r2", "other", 3), ("r4", "c", 2)):
        start = {"corpus": {"name": name, "version": five[number].version}}
        storage.write_json(f"{root}/runs/{run}/{runs.START}", start)
    (tmp_path / "runs" / "r3").mkdir()  # a run that has not begun

    def models(name: str) -> dict[str, list[str]]:
        return {five[2].version: [f"model {name}/{n}" for n in range(6)]}

    with caplog.at_level("INFO", "unreasonable"):
        assert retention.prune(root, "c", 1, models) == [five[3].version]
    assert left(tmp_path) == names([five[4], five[2], five[1], five[0]])
    five_models = ", ".join(f"model c/{n}" for n in range(5))
    assert f"corpus c: version {five[1].version} stays for run r1" in caplog.messages
    assert f"corpus c: version {five[2].version} stays for {five_models}" in caplog.messages
    assert retention.run_references(root, "c") == {
        five[1].version: ["run r1"],
        five[2].version: ["run r4"],
    }
    assert retention.run_references(root, "other") == {five[3].version: ["run r2"]}


def test_several_runs_may_use_a_version(tmp_path: Path) -> None:
    for run in ("r1", "r2"):
        start = {"corpus": {"name": "c", "version": "v"}}
        storage.write_json(f"{tmp_path}/runs/{run}/{runs.START}", start)
    assert retention.run_references(str(tmp_path), "c") == {"v": ["run r1", "run r2"]}


def test_a_version_that_models_alone_use_stays(
    five: list[Corpus], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    used = {five[0].version: ["model c/1"], "gone": ["model c/2"]}
    with caplog.at_level("INFO", "unreasonable"):
        removed = retention.prune(str(tmp_path), "c", 4, lambda name: used)
    assert removed == []
    assert caplog.messages == [f"corpus c: version {five[0].version} stays for model c/1"]
    assert left(tmp_path) == names(five[::-1])


def test_nothing_goes_when_the_registry_cannot_say(
    five: list[Corpus], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def away(name: str) -> dict[str, list[str]]:
        raise ConnectionError(f"{name} is away\nand more")

    assert retention.prune(str(tmp_path), "c", 1, away) == []
    assert left(tmp_path) == names(five[::-1])
    assert caplog.messages == [
        "no version of c is removed: cannot ask which models use them (c is away)"
    ]


def test_the_registry_is_asked_only_when_something_could_go(
    five: list[Corpus], tmp_path: Path
) -> None:
    asked = []

    def models(name: str) -> dict[str, list[str]]:
        asked.append(name)
        return {}

    retention.prune(str(tmp_path), "c", 5, models)
    (Path(five[0].url) / PIN).touch()
    retention.prune(str(tmp_path), "c", 4, models)
    assert asked == []
    retention.prune(str(tmp_path), "c", 3, models)
    assert asked == ["c"]


def test_a_text_that_comes_back_is_the_latest_again(five: list[Corpus], tmp_path: Path) -> None:
    publish(five[0].url, five[0].manifest)
    age(Path(five[0].url), 9 * HOUR)  # LATEST decides, whatever the dates say
    assert left(tmp_path) == names([five[0], five[4], five[3], five[2], five[1]])
    assert retention.prune(str(tmp_path), "c", 1) == names(five[:0:-1])
    assert left(tmp_path) == [five[0].version] == [latest(str(tmp_path), "c")]


def test_versions_of_one_age_have_an_order(
    five: list[Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for published in (5.0, None):  # None: the store does not say
        monkeypatch.setattr(storage, "modified", lambda url, published=published: published)
        versions = retention.versions(str(tmp_path), "c")
        assert [version.published for version in versions] == [published] * 5
        others = sorted(names(five[:4]), reverse=True)
        assert left(tmp_path) == [five[4].version, *others]


def test_a_version_that_cannot_be_opened_is_left_out(
    five: list[Corpus], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = min(five, key=lambda corpus: corpus.version)  # the first in the folder
    manifest = Path(broken.url) / "manifest.json"
    manifest.write_text("{}")
    assert left(tmp_path) == names([each for each in five[::-1] if each is not broken])
    assert caplog.messages == [
        f"{manifest} is not a manifest of format 2 to 4; build the corpus again with this version."
    ]


@pytest.mark.parametrize("start", [b"[]", b"{}", b'{"corpus": 7}', b'{"corpus": {}}', b"\xff{"])
def test_nothing_goes_when_a_run_does_not_say_what_it_learned(
    five: list[Corpus], tmp_path: Path, caplog: pytest.LogCaptureFixture, start: bytes
) -> None:
    url = f"{tmp_path}/runs/broken/start.json"
    storage.write_bytes(url, start)
    with pytest.raises(DamagedError, match=r"^.*/broken/start\.json (does not say|is not JSON)"):
        retention.run_references(str(tmp_path), "c")
    assert retention.prune(str(tmp_path), "c", 2) == []
    (message,) = caplog.messages
    assert message.startswith(f"no version of c is removed: {url} ")
    assert "\n" not in message
    assert left(tmp_path) == names(five[::-1])


def test_a_removal_that_was_killed_is_finished_later(five: list[Corpus], tmp_path: Path) -> None:
    orphan = Path(five[0].url)
    (orphan / "manifest.json").unlink()  # what goes first
    for seconds, gone in ((0, False), (DAY, False), (DAY + 1, True)):
        age(orphan, seconds)
        retention.prune(str(tmp_path), "c", 9)
        assert orphan.exists() != gone


def test_only_orphans_are_swept(five: list[Corpus], tmp_path: Path) -> None:
    home = tmp_path / "corpora" / "c"
    for number, kept_by in ((0, PIN), (1, "train-00001.arrow")):
        folder = Path(five[number].url)
        (folder / "manifest.json").unlink()
        age(folder, 2 * DAY)
        (folder / kept_by).write_bytes(b"")  # a pin, or something new
        os.utime(folder / kept_by, (NOW, NOW))
    age(Path(five[2].url), 9 * DAY)  # whole versions do not age
    for name in ("LATEST", "sources.json"):
        os.utime(home / name, (1e9, 1e9))
    (home / "new").mkdir()
    (home / "empty").mkdir()
    os.utime(home / "empty", (NOW - 2 * DAY, NOW - 2 * DAY))
    before = {path.name for path in home.iterdir()}
    retention.prune(str(tmp_path), "c", 0)
    assert {path.name for path in home.iterdir()} == before - {"empty"}
    os.utime(Path(five[0].url) / PIN, (1e9, 1e9))
    retention.prune(str(tmp_path), "c", 0)
    assert Path(five[0].url).exists()


def test_where_a_store_tells_no_time_nothing_is_an_orphan(
    five: list[Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(five[0].url) / "manifest.json").unlink()
    monkeypatch.setattr(storage, "modified", lambda url: None)
    retention.prune(str(tmp_path), "c", 0)
    assert Path(five[0].url).exists()


def test_the_manifest_goes_first(
    five: list[Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[str] = []
    monkeypatch.setattr(storage, "remove", gone.append)
    monkeypatch.setattr(storage, "remove_tree", gone.append)
    retention.prune(str(tmp_path), "c", 4)
    assert gone == [f"{five[0].url}/manifest.json", five[0].url]


def test_the_catalogue_says_what_there_is(five: list[Corpus], tmp_path: Path) -> None:
    (Path(five[3].url) / PIN).touch()
    shutil.copytree(five[0].url, tmp_path / "corpora" / "b" / five[0].version)
    (tmp_path / "corpora" / "b" / "LATEST").write_text(five[0].version)
    versions = retention.catalogue(str(tmp_path))
    assert [version.corpus.version for version in versions] == names([five[0], *five[::-1]])
    row: dict[str, Any] = versions[2].row()
    assert row == {
        "name": "c",
        "version": five[3].version,
        "latest": False,
        "pinned": True,
        "bytes": 200,
        "documents": 1,
        "unit": "byte",
        "vocab_size": len(set(b"version 3 ")),
        "tokens": {"train": 150, "val": 50, "test": 0},
        "age_s": HOUR,
    }
    newest = versions[1].row()
    assert (newest["latest"], newest["pinned"], newest["age_s"]) == (True, False, 0)
    json.dumps(row)


@pytest.mark.parametrize(
    ("published", "expected"), [(None, None), (NOW - 1.6, 2), (NOW + 5, 0), (NOW - 0.4, 0)]
)
def test_an_age_is_in_whole_seconds(
    five: list[Corpus], published: float | None, expected: int | None
) -> None:
    version = Version(five[0], published, is_latest=False, pinned=False)
    assert version.row()["age_s"] == expected
