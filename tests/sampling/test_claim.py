"""Two jobs on one output: the second waits, and neither fails because of the other."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.errors import InputError
from pipeline.model.artifact import ModelArtifact
from pipeline.sampling import claim
from pipeline.sampling.claim import claimed
from tests.sampling.conftest import here, rows, texts

MEMORY = "memory://claims"


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder on a filesystem without locks."""
    storage.write_bytes(f"{MEMORY}/there", b"")
    yield MEMORY
    storage.remove_tree(MEMORY)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "_LOOK_S", 0.002)


def test_two_jobs_at_once_write_one_set_of_files(tmp_path: Path, model: ModelArtifact) -> None:
    settings: dict[str, Any] = {"num_files": 4, "num_chars": 3000}
    here(tmp_path / "alone", model, **settings)
    both = threading.Barrier(2)

    def run(_: int) -> int:
        both.wait()
        return here(tmp_path / "both", model, **settings, save_every_s=1e-9).written

    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            written = list(pool.map(run, range(2)))
        assert sorted(written) == [0, 4]
        assert texts(tmp_path / "both") == texts(tmp_path / "alone")
        assert not (tmp_path / "both" / ".partial").exists()
        storage.remove_tree(str(tmp_path / "both"))


def test_the_second_of_other_settings_is_refused_by_name(
    tmp_path: Path, model: ModelArtifact
) -> None:
    both = threading.Barrier(2)

    def run(seed: int) -> str:
        both.wait()
        try:
            here(tmp_path, model, num_files=2, num_chars=3000, seed=seed)
        except InputError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        said = sorted(pool.map(run, range(2)))
    assert said[0] == ""
    assert said[1].startswith(f"{tmp_path} holds samples of other settings; choose another --out")
    assert len(rows(tmp_path)) == 2


def held_for(output: str, order: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """Hold an output, and let another thread wait for it until that has been said."""
    caplog.set_level(logging.INFO, "unreasonable")

    def second() -> None:
        with claimed(output):
            order.append("second")

    thread = threading.Thread(target=second)
    with claimed(output):
        thread.start()
        while "waiting until it has ended" not in caplog.text:
            time.sleep(0.002)
        order.append("first")
    thread.join()


def test_who_waits_says_so_and_goes_on_behind_the_first(
    tmp_path: Path, memory: str, caplog: pytest.LogCaptureFixture
) -> None:
    for output, who in (
        (str(tmp_path), "another job"),
        (memory, f"process {os.getpid()} on {platform.node()}"),
    ):
        order: list[str] = []
        caplog.clear()
        held_for(output, order, caplog)
        assert order == ["first", "second"]
        assert caplog.text.count(f"{output} is being written by {who}; waiting until") == 1
    assert list(tmp_path.iterdir()) == []
    assert storage.names(f"{memory}/.partial") == []


def test_where_folders_have_no_locks_a_claim_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError("no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with claimed(str(tmp_path)):
        facts = json.loads((tmp_path / ".partial" / "claim.json").read_text())
        assert facts["pid"] == os.getpid()
    assert list((tmp_path / ".partial").iterdir()) == []


def left(memory: str, **facts: Any) -> str:
    url = f"{memory}/{claim.CLAIM}"
    storage.write_bytes(url, json.dumps({"holder": "x", "host": "elsewhere", **facts}).encode())
    return url


def test_a_claim_of_a_process_that_is_gone_is_taken_over(
    memory: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "unreasonable")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left(memory, host=platform.node(), pid=gone.pid)
    with claimed(memory):
        pass
    assert f"was left by process {gone.pid} on {platform.node()}; it is taken over" in caplog.text


@pytest.mark.parametrize("content", [b'{"host": "elsewhere", "pid": 7}', b"", b"[1]", b"\xff"])
def test_a_claim_that_nobody_renews_is_taken_over(
    memory: str, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(claim, "STALE_S", 0.05)
    storage.write_bytes(f"{memory}/{claim.CLAIM}", content)
    with claimed(memory):
        assert b"holder" in storage.read_bytes(f"{memory}/{claim.CLAIM}")


def test_a_claim_that_is_renewed_is_not(
    memory: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(claim, "RENEW_S", 0.01)
    order: list[str] = []
    held_for(memory, order, caplog)
    url = f"{memory}/{claim.CLAIM}"
    with claimed(memory):
        before = storage.read_bytes(url)
        while storage.read_bytes(url) == before:
            time.sleep(0.002)
        # Another one's claim by now: it is neither renewed nor removed.
        left(memory)
    assert order == ["first", "second"]
    assert json.loads(storage.read_bytes(url))["host"] == "elsewhere"
