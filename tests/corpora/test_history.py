"""What a build remembers: the state of its sources, and where they came from."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.corpora import history
from pipeline.corpora.history import SourceRecord
from pipeline.corpora.sources import Listing, Skip, SourceFile
from pipeline.corpora.vocab import Vocab
from pipeline.errors import DamagedError

from .conftest import corpus_config

NOW = 1_700_000_000.0
OLD = f"mtime:{int((NOW - 100) * 1e9)}"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def state(*files: SourceFile, frozen: Vocab | None = None, **changes: Any) -> str | None:
    return history.source_state(corpus_config(**changes), Listing(files=list(files)), frozen)


def file(**changes: Any) -> SourceFile:
    return SourceFile(**{"path": "a", "url": "/a", "size": 1, "state": OLD, **changes})


def test_the_same_sources_have_the_same_state() -> None:
    assert state(file()) == state(file())
    # Recorded in sources.json: another digest would have every corpus built again.
    known = "a8636bee56f15eb1d1e1534fa7c869ba0680b11214e0cf07b6b55e551109277d"
    assert state(file()) == known


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "b"},
        {"path": "\udcff"},
        {"url": "/b"},
        {"size": 2},
        {"state": f"mtime:{int((NOW - 99) * 1e9)}"},
        {"state": "ETag:x"},
        {"within": "member"},
    ],
)
def test_another_file_is_another_state(changes: dict[str, Any]) -> None:
    assert state(file(**changes)) not in (None, state(file()))


def test_settings_streams_and_vocabulary_are_part_of_the_state() -> None:
    one = state(file())
    others = [
        state(file(), include=["*.txt"]),
        state(file(), seed=1),
        state(file(), frozen=Vocab("byte", [1])),
        state(file(), frozen=Vocab("byte", [2])),
        state(file(), file()),
        state(),
    ]
    assert len({one, *others}) == 7
    listing = Listing(streams=[file()])
    assert history.source_state(corpus_config(), listing, None) == one


def test_what_is_skipped_is_part_of_the_state() -> None:
    """A symbolic link that appears is in skipped.jsonl, so it is another version."""

    def with_skips(*skips: Skip) -> str | None:
        listing = Listing(files=[file()], skips=list(skips))
        return history.source_state(corpus_config(), listing, None)

    one = Skip("a", "link")
    two = Skip("b", "link")
    assert with_skips() == state(file())
    assert with_skips(one, two) == with_skips(two, one)
    others = [(), (one,), (two,), (one, two), (Skip("a", "not a regular file"),)]
    assert len({with_skips(*skips) for skips in others}) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"state": ""},
        {"state": "ETag:"},
        {"url": "http://x/a", "state": "ETag:x"},
        {"url": "https://x/a", "state": "ETag:x"},
        {"url": "zip://a::https://x/a.zip", "state": "ETag:x"},
        # Modified so shortly before that it may be modified again without a trace.
        {"state": f"mtime:{int((NOW - 1.9) * 1e9)}"},
        {"state": f"mtime:{NOW - 1.9}"},
        {"state": f"mtime:{int((NOW + 1000) * 1e9)}"},
    ],
)
def test_what_does_not_tell_of_changes_has_no_state(changes: dict[str, Any]) -> None:
    assert state(file(**changes)) is None
    assert state(file(), file(**changes)) is None
    listing = Listing(files=[file()], streams=[file(**changes)])
    assert history.source_state(corpus_config(), listing, None) is None


@pytest.mark.parametrize(
    "trusted",
    [
        f"mtime:{int((NOW - 2.1) * 1e9)}",
        f"mtime:{NOW - 2.1}",
        f"mtime:{NOW - 2.0}",
        "mtime:0.5",
        "LastModified:2099-01-01",
        "etag:x:y",
    ],
)
def test_what_tells_of_changes_has_a_state(trusted: str) -> None:
    assert state(file(state=trusted)) is not None


def test_a_version_is_found_again_by_the_state_of_its_sources(tmp_path: Path) -> None:
    root = str(tmp_path)
    config = corpus_config(source=["s1", "s2"], url="https://x", licence="MIT")
    assert history.version_of(root, config, "state") is None
    assert history.origin(root, "x") is None
    history.record(root, config, "state", "v1")
    record = SourceRecord("v1", "state", ["s1", "s2"], "https://x", "MIT")
    assert history.origin(root, "x") == record
    assert SourceRecord.from_json(record.to_json()) == record
    assert json.loads((tmp_path / "corpora" / "x" / "sources.json").read_bytes()) == {
        "version": "v1",
        "state": "state",
        "sources": ["s1", "s2"],
        "url": "https://x",
        "licence": "MIT",
    }
    # The version itself may be gone, or what is there of it has no manifest.
    assert history.version_of(root, config, "state") is None
    storage.write_bytes(f"{root}/corpora/x/v1/train-00000.arrow", b"")
    assert history.version_of(root, config, "state") is None
    storage.write_json(f"{root}/corpora/x/v1/manifest.json", {})
    # LATEST must name it, too: a build may have been killed between the two.
    assert history.version_of(root, config, "state") is None
    for named, found in ((b"v0\n", None), (b"/..", None), (b"v1\n", "v1")):
        storage.write_bytes(f"{root}/corpora/x/LATEST", named)
        assert history.version_of(root, config, "state") == found
    assert history.version_of(root, config, "other") is None
    assert history.version_of(root, config, None) is None
    history.record(root, config, None, "v1")
    assert history.version_of(root, config, None) is None
    assert history.origin(root, "x") == SourceRecord("v1", None, ["s1", "s2"], "https://x", "MIT")


def test_a_record_that_says_nothing_is_no_record_to_trust(tmp_path: Path) -> None:
    url = str(tmp_path / "corpora" / "x" / "sources.json")
    storage.write_json(url, {})
    assert history.origin(str(tmp_path), "x") == SourceRecord("", None, [], "", "")
    assert history.version_of(str(tmp_path), corpus_config(), "state") is None
    storage.write_json(url, ["state"])
    with pytest.raises(
        DamagedError, match=r"sources\.json is not a record of sources \(.*\); remove it"
    ):
        history.origin(str(tmp_path), "x")
    assert history.version_of(str(tmp_path), corpus_config(), None) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        ["state"],
        {"sources": 7},
        {"sources": "abc"},
        {"sources": [7]},
        {"state": 7},
        {"version": None},
        {"url": 7},
        {"licence": ["MIT"]},
    ],
)
def test_a_record_of_something_else_is_one_line(tmp_path: Path, value: Any) -> None:
    url = str(tmp_path / "corpora" / "x" / "sources.json")
    storage.write_json(url, value)
    with pytest.raises(DamagedError) as refused:
        history.version_of(str(tmp_path), corpus_config(), "state")
    message = str(refused.value)
    assert message.startswith(f"{url} is not a record of sources (")
    assert message.endswith("); remove it, and build again.")
    assert "\n" not in message


def test_a_record_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    url = str(tmp_path / "corpora" / "x" / "sources.json")
    for value, reason in (
        ({"sources": 7, "state": None}, "sources 7, state None"),
        ({"version": 5}, "5 is not text"),
        ({"sources": "a" * 200}, ("sources '" + "a" * 200)[:100]),
    ):
        storage.write_json(url, value)
        with pytest.raises(DamagedError) as refused:
            history.origin(str(tmp_path), "x")
        assert f"({reason})" in str(refused.value)


def test_a_file_may_say_that_it_was_written_after_an_instant() -> None:
    assert history.written_after(file(state=f"mtime:{NOW + 1}"), NOW)
    assert not history.written_after(file(state=f"mtime:{NOW}"), NOW)
    assert history.written_after(file(state=f"mtime:{int((NOW + 1) * 1e9)}"), NOW)
    assert not history.written_after(file(state=f"etag:{NOW + 1}"), NOW)
    assert not history.written_after(file(state="etag:x"), NOW)
