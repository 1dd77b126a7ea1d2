"""What a run goes on from when some of its files are damaged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from pipeline import runs
from pipeline.errors import DamagedError
from pipeline.model.about import CorpusReference
from pipeline.training.checkpoint import Best, CheckpointState, training_files
from pipeline.training.journal import Journal, rows
from pipeline.training.resuming import newest_whole, read_journal

STATE = CheckpointState(
    step=0,
    epoch=0,
    minutes=0.0,
    val_loss=None,
    best=Best(),
    stale=0,
    journal=Journal().state,
    corpus=CorpusReference("texts", "0123", "0123456"),
    config={},
    world_size=1,
)


def journal_of(steps: int) -> Journal:
    journal = Journal()
    for step in range(1, steps + 1):
        journal.append({"step": step, "train_loss": 2.5})
    return journal


def write(run: Path, step: int) -> CheckpointState:
    """A run's checkpoint and journal at a step."""
    journal = journal_of(step)
    state = dataclasses.replace(STATE, step=step, journal=journal.state)
    (run / "metrics.jsonl").write_bytes(journal.data)
    url = str(run / runs.checkpoint_name(step))
    runs.write_checkpoint(url, training_files({}, torch.zeros(1), state))
    return state


def damage(run: Path, step: int, name: str) -> None:
    file = run / runs.checkpoint_name(step) / name
    data = file.read_bytes()
    file.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])


def test_a_run_without_checkpoints_goes_on_from_none(tmp_path: Path) -> None:
    assert newest_whole(str(tmp_path)) == ""


def test_a_whole_checkpoint_is_taken_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 5)
    write(tmp_path, 10)
    damage(tmp_path, 5, "state.json")  # an older one never hides it
    assert newest_whole(str(tmp_path)) == runs.checkpoint_name(10)
    assert caplog.text == ""


@pytest.mark.parametrize(
    "name", ["state.json", "lanes.safetensors", "optimizer.safetensors", "digests.json"]
)
def test_a_damaged_newest_checkpoint_is_named_and_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for step in (5, 10, 15):
        write(tmp_path, step)
    damage(tmp_path, 10, name)
    damage(tmp_path, 15, name)
    assert newest_whole(str(tmp_path)) == runs.checkpoint_name(5)
    assert f"checkpoint-00000015/{name} " in caplog.text
    assert "going on from checkpoint-00000005 instead of checkpoint-00000015" in caplog.text
    # What stands behind is made again: nobody may take it for the run's newest.
    assert runs.complete(str(tmp_path)) == [runs.checkpoint_name(5)]


def test_a_run_of_which_nothing_is_whole_is_refused(tmp_path: Path) -> None:
    for step in (5, 10):
        write(tmp_path, step)
        damage(tmp_path, step, "state.json")
    with pytest.raises(DamagedError, match=r"none of the 2 checkpoints of .* is whole: .*state"):
        newest_whole(str(tmp_path))
    assert len(runs.complete(str(tmp_path))) == 2


def test_another_format_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path, 5)
    url = str(tmp_path / runs.checkpoint_name(10))
    runs.write_checkpoint(url, {"state.json": json.dumps({"format": 3}).encode()})
    # It is whole: it is the run's newest, and reading it says what is wrong with it.
    assert newest_whole(str(tmp_path)) == runs.checkpoint_name(10)


def test_a_journal_is_cut_at_its_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = write(tmp_path, 5)
    (tmp_path / "metrics.jsonl").write_bytes(journal_of(7).data)
    assert read_journal(str(tmp_path), state).data == journal_of(5).data
    assert caplog.text == ""


def test_a_damaged_journal_keeps_what_an_older_checkpoint_vouches_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (5, 10):
        write(tmp_path, step)
    state = write(tmp_path, 15)
    data = journal_of(15).data
    at = len(journal_of(12).data) - 3
    (tmp_path / "metrics.jsonl").write_bytes(data[:at] + b"9" + data[at + 1 :])
    journal = read_journal(str(tmp_path), state)
    assert [row["step"] for row in rows(journal.data)] == list(range(1, 11))
    assert "metrics.jsonl is damaged: the rows of steps 11 to 15 are lost" in caplog.text


@pytest.mark.parametrize("has_file", [True, False])
def test_a_journal_that_nothing_vouches_for_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, has_file: bool
) -> None:
    write(tmp_path, 5)
    state = write(tmp_path, 15)
    damage(tmp_path, 5, "state.json")
    if has_file:
        (tmp_path / "metrics.jsonl").write_bytes(b"nothing")
    else:
        (tmp_path / "metrics.jsonl").unlink()
    assert read_journal(str(tmp_path), state).data == b""
    assert "the rows of steps 1 to 15 are lost" in caplog.text
