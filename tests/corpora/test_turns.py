"""Turns at a corpus, and what many builders at once leave of it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.corpora import history, retention, turns
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.whole import newest_whole
from pipeline.errors import InputError, StoreError

STORE = "memory://turns"
NOTES = f"{STORE}/corpora/.turns/c"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A root on a store that has no locks."""
    monkeypatch.setattr(turns, "_SLOW_POLL_S", 0.001)
    yield STORE
    storage.remove_tree(STORE)


def fire(root: Path, rounds: int, seed: int) -> str:
    """What was wrong with a corpus after rounds of builds, prunes and kills."""
    command = [sys.executable, "-m", "tests.corpora.fire", str(root)]
    options = ["--rounds", str(rounds), "--seed", str(seed)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


def test_builders_and_pruners_at_once_leave_a_whole_corpus(tmp_path: Path) -> None:
    assert fire(tmp_path, rounds=6, seed=3) == ""


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_hundreds_of_rounds_leave_a_whole_corpus(tmp_path: Path, seed: int) -> None:
    assert fire(tmp_path, rounds=200, seed=seed) == ""


def counted(root: str, workers: int, rounds: int) -> int:
    """How far a counter comes that each worker reads and writes in its turn."""
    url = f"{root}/number"
    storage.write_bytes(url, b"0")

    def work() -> None:
        for _ in range(rounds):
            with turns.turn(root, "c") as check:
                check()
                storage.write_bytes(url, b"%d" % (int(storage.read_bytes(url)) + 1))

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return int(storage.read_bytes(url))


def test_one_at_a_time(tmp_path: Path, store: str) -> None:
    assert counted(str(tmp_path), workers=4, rounds=8) == 32
    assert counted(store, workers=4, rounds=8) == 32
    # Notes do not pile up.
    assert storage.names(NOTES) == ["000031.json", "000032.json"]


def test_file_systems_without_locks_have_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(handle: int, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with turns.turn(str(tmp_path), "c") as check:
        check()
        (note,) = (tmp_path / "corpora" / ".turns" / "c").iterdir()
        assert json.loads(note.read_bytes())["pid"] == os.getpid()


def test_the_turn_of_a_killed_holder_ends_with_its_note(store: str) -> None:
    storage.write_bytes(f"{NOTES}/000007.json", turns._note("killed", time.time() + 0.05))
    with turns.turn(store, "c") as check:
        check()
        assert storage.names(NOTES) == ["000007.json", "000008.json"]
    assert storage.read_json(f"{NOTES}/000008.json")["expires"] == 0


def test_whoever_was_silent_too_long_loses_the_turn(store: str) -> None:
    with turns.turn(store, "c") as check:
        storage.write_bytes(f"{NOTES}/000002.json", turns._note("other", time.time() + 60))
        with pytest.raises(InputError, match="went to another process"):
            check()
    # It does not give back what is another one's.
    assert storage.read_json(f"{NOTES}/000002.json")["holder"] == "other"


def test_a_number_that_was_cleared_away_is_no_turn(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes(f"{NOTES}/000009.json", turns._note("other", 0.0))
    real = turns._newest
    answers = [3]  # what it saw before it slept
    monkeypatch.setattr(turns, "_newest", lambda folder: answers.pop() if answers else real(folder))
    with turns.turn(store, "c"):
        assert storage.names(NOTES) == ["000009.json", "000010.json"]


def test_a_long_turn_is_renewed(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "RENEW_S", 0.001)
    with turns.turn(store, "c") as check:
        first = storage.read_json(f"{NOTES}/000001.json")["expires"]
        while storage.read_json(f"{NOTES}/000001.json")["expires"] == first:
            time.sleep(0.001)
        check()


@pytest.mark.parametrize("root", ["local", STORE])
def test_nobody_waits_for_ever(
    root: str, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path) if root == "local" else root
    with turns.turn(url, "c"):
        monkeypatch.setattr(turns, "WAIT_S", 0.05)
        with pytest.raises(InputError, match="another process has been publishing or removing"):
            turns.turn(url, "c").__enter__()
        with turns.turn(url, "other"):  # corpora do not wait for each other
            pass


def test_a_renewal_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    calls = []
    enough = threading.Event()

    def action() -> None:
        calls.append(len(calls))
        if len(calls) == 2:
            enough.set()
        raise StoreError("away")

    with turns.repeating(action, 0.001):
        enough.wait()
    assert "could not be renewed: away" in caplog.messages
    assert all(thread.name != "lease-renewer" for thread in threading.enumerate())


def builds_at_once(root: str, sources: Path, rounds: int) -> list[str]:
    """Builds and a prune in threads, again and again, on a store; returns what is wrong."""
    wrong: list[str] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            wrong.append(traceback.format_exc())

    for number in range(rounds):
        works: list[Callable[[], object]] = [lambda: retention.prune(root, "c", 1)]
        for name in ("a", "b"):
            path = sources / name
            path.write_bytes(b"%s %d\n" % (name.encode(), number % 3) * 40)
            os.utime(path, (1e9 + number % 3, 1e9 + number % 3))
            config = CorpusConfig(name="c", source=str(path), val=0.0, test=0.0)
            force = number % 2 == 0
            works.append(partial(build_corpus, config, root, force=force))
            works.append(lambda: retention.prune(root, "c", 1))
        threads = [threading.Thread(target=guarded, args=[work]) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        corpus = newest_whole(root, "c")
        record = history.origin(root, "c")
        if corpus is None or record is None or record.version != corpus.version:
            wrong.append(f"round {number}: LATEST {corpus}, sources.json {record}")
    return wrong


def test_builders_and_pruners_at_once_on_a_store(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write takes a moment, as over a network: without it, threads hardly meet."""
    for name in ("write_bytes", "write_json", "remove"):
        real = getattr(storage, name)

        def slow(*given: Any, real: Callable[..., Any] = real) -> Any:
            time.sleep(0.01)
            return real(*given)

        monkeypatch.setattr(storage, name, slow)
    assert builds_at_once(store, tmp_path, rounds=6) == []
    retention.prune(store, "c", 1)
    assert len(retention.versions(store, "c")) == 1
    assert storage.names(f"{store}/corpora/.staging") == []
