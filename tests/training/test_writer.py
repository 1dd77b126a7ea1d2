"""Checkpoints on their way: complete or not there, old ones pruned, a failing store survived."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest

from pipeline import runs, storage
from pipeline.runs import checkpoint_name
from pipeline.training.writer import CheckpointWriter


def files(val_loss: float | None) -> dict[str, bytes]:
    state = {"format": 2, "val_loss": val_loss}
    return {"state.json": json.dumps(state).encode(), "weights.safetensors": b"w"}


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    writer = CheckpointWriter(str(tmp_path), keep=2)
    (tmp_path / checkpoint_name(5)).mkdir()  # a killed write
    (tmp_path / checkpoint_name(5) / "weights.safetensors").write_bytes(b"half")
    for step, loss in ((10, 3.0), (20, 1.0), (30, None), (40, 2.0), (50, float("nan")), (60, None)):
        writer.submit(step, files(loss), b"{}\n")
    writer.wait()
    assert runs.complete(str(tmp_path)) == [checkpoint_name(step) for step in (20, 50, 60)]
    assert runs.best(str(tmp_path)) == checkpoint_name(20)
    assert not (tmp_path / checkpoint_name(5)).exists()
    assert writer.error == ""


def test_files_and_journal_are_written_as_given(tmp_path: Path) -> None:
    writer = CheckpointWriter(str(tmp_path), keep=1)
    writer.wait()  # nothing is on its way
    given = files(2.0)
    writer.submit(7, given, b"rows\n")
    writer.wait()
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"rows\n"
    folder = tmp_path / checkpoint_name(7)
    assert {path.name for path in folder.iterdir()} == {*given, "digests.json"}
    assert all((folder / name).read_bytes() == data for name, data in given.items())


def test_training_goes_on_while_one_is_written_and_the_next_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()
    order: list[int | str] = []

    def slow(url: str, files: dict[str, bytes]) -> None:
        may_write.wait(30)
        order.append(runs.step_of(url.rpartition("/")[2]))

    monkeypatch.setattr(runs, "write_checkpoint", slow)
    writer = CheckpointWriter(str(tmp_path), keep=2)
    writer.submit(1, files(1.0), b"")
    order.append("submitted")  # while the first is held up
    may_write.set()
    writer.submit(2, files(1.0), b"")
    writer.wait()
    assert order == ["submitted", 1, 2]


def test_the_journal_is_there_before_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(url: str, files: dict[str, bytes]) -> None:
        raise OSError("killed")

    monkeypatch.setattr(runs, "write_checkpoint", killed)
    writer = CheckpointWriter(str(tmp_path), keep=2)
    writer.submit(1, files(1.0), b"rows\n")
    writer.wait()
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"rows\n"
    assert writer.error == "OSError: killed"


def test_a_full_disk_keeps_the_previous_one_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = CheckpointWriter(str(tmp_path), keep=2)
    writer.submit(10, files(2.0), b"1\n")
    writer.wait()
    real = storage.write_bytes

    def full(url: str, data: bytes) -> None:
        if checkpoint_name(20) in url and url.endswith(".safetensors"):
            raise OSError(28, "No space left on\n device")
        real(url, data)

    monkeypatch.setattr(storage, "write_bytes", full)
    with caplog.at_level(logging.WARNING, "unreasonable"):
        writer.submit(20, files(1.0), b"2\n")
        writer.wait()
    reason = "OSError: [Errno 28] No space left on device"
    assert [record.message for record in caplog.records] == [
        f"checkpoint of step 20 was not written ({reason}); the newest is checkpoint-00000010"
    ]
    assert runs.complete(str(tmp_path)) == [checkpoint_name(10)]
    assert writer.error == reason
    writer.submit(30, files(1.0), b"3\n")
    writer.wait()
    assert (writer.error, runs.newest(str(tmp_path))) == ("", checkpoint_name(30))


def test_a_store_that_is_away_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(storage, "write_bytes", away)
    writer = CheckpointWriter(str(tmp_path), keep=2)
    with caplog.at_level(logging.WARNING, "unreasonable"):
        writer.submit(1, files(1.0), b"")
        writer.wait()
        monkeypatch.setattr(storage, "names", away)
        writer.submit(2, files(1.0), b"")
        writer.wait()
    reason = "ConnectionError: nobody answers"
    assert [record.message for record in caplog.records] == [
        f"checkpoint of step 1 was not written ({reason}); the newest is none",
        f"checkpoint of step 2 was not written ({reason}); the newest is unknown (ConnectionError)",
    ]
