"""Checkpoints on their way: complete or not there, old ones pruned, a failing store survived."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.training import checkpoint
from pipeline.training.conductor import GIVE_UP_AFTER, Conductor
from pipeline.training.writer import CheckpointWriter


def files(val_loss: float | None) -> dict[str, bytes]:
    return checkpoint_state(val_loss) | {"weights.safetensors": b"w"}


def checkpoint_state(val_loss: float | None) -> dict[str, bytes]:
    import torch

    return checkpoint.training_files({}, torch.zeros(1, 1, 1, 1), {"val_loss": val_loss})


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    writer = CheckpointWriter(str(tmp_path), keep=2)
    (tmp_path / checkpoint.name(5)).mkdir()  # a killed write
    (tmp_path / checkpoint.name(5) / "weights.safetensors").write_bytes(b"half")
    for step, loss in ((10, 3.0), (20, 1.0), (30, None), (40, 2.0), (50, float("nan")), (60, None)):
        writer.submit(step, files(loss), b"{}\n")
    writer.wait()
    assert checkpoint.complete(str(tmp_path)) == [checkpoint.name(step) for step in (20, 50, 60)]
    assert checkpoint.best(str(tmp_path)) == checkpoint.name(20)
    assert not (tmp_path / checkpoint.name(5)).exists()
    assert writer.error == ""


def test_a_full_disk_keeps_the_previous_one_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = CheckpointWriter(str(tmp_path), keep=2)
    writer.submit(10, files(2.0), b"1\n")
    writer.wait()
    real = storage.write_bytes

    def full(url: str, data: bytes) -> None:
        if checkpoint.name(20) in url and url.endswith(".safetensors"):
            raise OSError(28, "No space left on device")
        real(url, data)

    monkeypatch.setattr(storage, "write_bytes", full)
    with caplog.at_level(logging.WARNING, "unreasonable"):
        writer.submit(20, files(1.0), b"2\n")
        writer.wait()
    assert (
        "step 20 was not written (OSError: [Errno 28] No space left on device); the newest is checkpoint-00000010"
        in caplog.text
    )
    assert checkpoint.complete(str(tmp_path)) == [checkpoint.name(10)]
    assert writer.error
    writer.submit(30, files(1.0), b"3\n")
    writer.wait()
    assert (writer.error, checkpoint.complete(str(tmp_path))[-1]) == ("", checkpoint.name(30))


def test_a_run_that_gets_no_further_is_given_up() -> None:
    conductor = Conductor()
    assert conductor.begin() == ""
    conductor.reach(50)
    for _ in range(GIVE_UP_AFTER):
        assert conductor.begin() == ""
        conductor.reach(40)
        conductor.reach(50)
    conductor.fail("RuntimeError: the same again")
    assert (
        "no progress over 3 restarts at step 50: RuntimeError: the same again" in conductor.begin()
    )


def test_a_run_that_gets_further_is_not() -> None:
    conductor = Conductor()
    for step in range(20):
        assert conductor.begin() == ""
        assert not conductor.reach(step)
    conductor.ask_to_stop()
    assert conductor.reach(20)
