"""A run's folder: which checkpoint is complete, newest and best, and what pruning leaves."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs, storage
from pipeline.errors import DamagedError, InputError
from pipeline.runs import checkpoint_name


def write(run: Path, step: int, val_loss: float | None = None) -> Path:
    """A complete checkpoint that has nothing but a state."""
    folder = run / checkpoint_name(step)
    state = json.dumps({"format": 2, "val_loss": val_loss}).encode()
    runs.write_checkpoint(str(folder), {"state.json": state})
    return folder


def half(run: Path, step: int) -> Path:
    """What a killed write leaves behind."""
    folder = run / checkpoint_name(step)
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"half")
    return folder


def steps(run: Path) -> list[int]:
    """Of all checkpoints' folders, complete or not."""
    names = [path.name for path in run.iterdir() if path.name.startswith("checkpoint-")]
    return sorted(runs.step_of(name) for name in names)


def test_files_are_called_what_the_formats_page_says() -> None:
    names = (runs.START, runs.END, runs.METRICS, runs.INIT, runs.SAMPLES, runs.STATE, runs.DIGESTS)
    assert names == (
        "start.json", "run.json", "metrics.jsonl", "init", "samples", "state.json", "digests.json"
    )  # fmt: skip
    assert runs.CHECKPOINT_FORMAT == 2


def test_a_run_id_sorts_by_age_and_no_two_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 1, 2, 3, 4, 5, 4, 2, 0)))
    ids = {runs.new_run_id() for _ in range(50)}
    assert len(ids) == 50
    assert all(re.fullmatch(r"20260102-030405-[0-9a-f]{6}", run_id) for run_id in ids)


def test_a_run_has_the_id_that_it_is_given_unless_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs.given_run_id(str(tmp_path)) == ""
    monkeypatch.setenv("UNREASONABLE_RUN_ID", "20260102-030405-abcdef")
    assert runs.given_run_id(str(tmp_path)) == "20260102-030405-abcdef"
    storage.write_bytes(f"{tmp_path}/runs/20260102-030405-abcdef/start.json", b"{}")
    assert runs.given_run_id(str(tmp_path)) == ""
    monkeypatch.setenv("UNREASONABLE_RUN_ID", "../out")
    assert runs.given_run_id(str(tmp_path)) == ""


def test_a_runs_folder_lies_under_the_root(tmp_path: Path) -> None:
    assert runs.runs_url("s3://bucket/root") == "s3://bucket/root/runs"
    assert runs.run_url("s3://bucket/root", "r") == "s3://bucket/root/runs/r"
    assert not runs.is_run(str(tmp_path))
    (tmp_path / "start.json").write_text("{}")
    assert runs.is_run(str(tmp_path))


def test_a_checkpoints_name_has_its_step_and_sorts_by_it() -> None:
    assert checkpoint_name(500) == "checkpoint-00000500"
    assert runs.step_of("checkpoint-00000500") == 500
    assert checkpoint_name(99) < checkpoint_name(100) < checkpoint_name(12_345_678)


def test_digests_make_a_checkpoint_and_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    real = storage.write_bytes

    def seen(url: str, data: bytes) -> None:
        written.append(Path(url).name)
        real(url, data)

    def seen_json(url: str, value: Any) -> None:
        seen(url, json.dumps(value).encode())

    monkeypatch.setattr(storage, "write_bytes", seen)
    monkeypatch.setattr(storage, "write_json", seen_json)
    folder = tmp_path / checkpoint_name(1)
    runs.write_checkpoint(str(folder), {"b": b"two", "a": b"one"})
    assert written == ["b", "a", "digests.json"]
    assert (folder / "a").read_bytes() == b"one"
    assert (folder / "b").read_bytes() == b"two"
    assert json.loads((folder / "digests.json").read_text()) == {
        name: storage.sha256_bytes(data) for name, data in {"a": b"one", "b": b"two"}.items()
    }


def test_complete_checkpoints_are_listed_oldest_first(tmp_path: Path) -> None:
    assert runs.complete(str(tmp_path / "nowhere")) == []
    assert runs.newest(str(tmp_path)) is None
    for step in (100, 20, 3):
        write(tmp_path, step)
    half(tmp_path, 200)
    (tmp_path / "init").mkdir()
    (tmp_path / "init" / "digests.json").write_text("{}")  # a model, but no checkpoint
    (tmp_path / "start.json").write_text("{}")
    assert runs.complete(str(tmp_path)) == [checkpoint_name(step) for step in (3, 20, 100)]
    assert runs.newest(str(tmp_path)) == checkpoint_name(100)


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ({}, None),
        ({1: None, 2: None}, None),
        ({1: float("nan"), 2: float("inf")}, None),
        ({1: 3.0, 2: 1.0, 3: 2.0}, 2),
        ({1: 2.0, 2: 1.0, 3: 1.0}, 2),  # of equals the earliest
        ({9: 1.0, 10: 1.0}, 9),
        ({1: float("nan"), 2: 5.0, 3: None}, 2),
        ({1: float("-inf"), 2: 5.0}, 2),
        ({1: 0.0, 2: 5.0}, 1),
    ],
)
def test_the_best_has_the_lowest_loss(
    tmp_path: Path, losses: dict[int, float | None], best: int | None
) -> None:
    for step, loss in losses.items():
        write(tmp_path, step, loss)
    assert runs.best(str(tmp_path)) == (best and checkpoint_name(best))


def test_a_checkpoint_that_is_not_complete_is_not_the_best(tmp_path: Path) -> None:
    write(tmp_path, 1, 5.0)
    (write(tmp_path, 2, 1.0) / "digests.json").unlink()
    assert runs.best(str(tmp_path)) == checkpoint_name(1)


def test_a_damaged_state_hides_no_other_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step, loss in ((10, 3.0), (20, 1.0), (30, 2.0)):
        write(tmp_path, step, loss)
    (tmp_path / checkpoint_name(20) / "state.json").write_text('{"format": 2, "val_loss": 0.5}')
    (tmp_path / checkpoint_name(10) / "digests.json").write_text("{")
    assert runs.ranked(str(tmp_path)) == [checkpoint_name(30)]
    assert runs.best(str(tmp_path)) == checkpoint_name(30)
    assert "checkpoint-00000020/state.json does not have the digest" in caplog.text
    assert "checkpoint-00000010/digests.json is not JSON" in caplog.text
    write(tmp_path, 40, 4.0)
    runs.prune(str(tmp_path), 1)
    assert steps(tmp_path) == [30, 40]


def test_checkpoints_are_ranked_by_their_loss(tmp_path: Path) -> None:
    for step, loss in ((10, 3.0), (20, None), (30, 1.0), (40, 1.0), (50, float("nan"))):
        write(tmp_path, step, loss)
    assert runs.ranked(str(tmp_path)) == [checkpoint_name(step) for step in (30, 40, 10)]


def test_the_newest_state_that_can_be_read_is_found(tmp_path: Path) -> None:
    assert runs.newest_state(str(tmp_path)) is None
    for step in (10, 20, 30):
        write(tmp_path, step, float(step))
    (tmp_path / checkpoint_name(30) / "state.json").write_text("{}")
    assert runs.newest_state(str(tmp_path)) == (
        checkpoint_name(20),
        {"format": 2, "val_loss": 20.0},
    )


def test_every_file_of_a_checkpoint_is_compared_with_its_digest(tmp_path: Path) -> None:
    folder = tmp_path / checkpoint_name(1)
    runs.write_checkpoint(str(folder), {"b": b"two", "state.json": b"{}"})
    assert runs.damage(str(folder)) == ""
    (folder / "b").write_bytes(b"twO")
    assert runs.damage(str(folder)) == f"{folder}/b does not have the digest it was written with"
    (folder / "b").unlink()
    assert runs.damage(str(folder)) == f"{folder}/b is missing"
    (folder / "digests.json").write_text("[]")
    assert runs.damage(str(folder)) == f"{folder}/digests.json is not a table of digests"
    (folder / "digests.json").write_text("{")
    assert runs.damage(str(folder)).startswith(f"{folder}/digests.json is not JSON")


def state_of(folder: Path, state: Any) -> str:
    """A checkpoint whose state.json is this, with its digest."""
    runs.write_checkpoint(str(folder), {"state.json": json.dumps(state).encode()})
    return str(folder)


@pytest.mark.parametrize("state", [{"format": 1}, {"format": 3}, {"val_loss": 1.0}, [2], 2, None])
def test_another_format_is_refused_by_name(tmp_path: Path, state: Any) -> None:
    with pytest.raises(InputError) as caught:
        runs.read_state(state_of(tmp_path, state))
    assert str(caught.value) == (
        f"{tmp_path} is not a format 2 checkpoint; go on with the program's version that wrote it."
    )


def test_a_state_is_read(tmp_path: Path) -> None:
    url = state_of(tmp_path, {"format": 2, "step": 5})
    assert runs.read_state(url) == {"format": 2, "step": 5}


def test_an_edited_state_is_refused(tmp_path: Path) -> None:
    url = state_of(tmp_path, {"format": 2, "step": 5})
    (tmp_path / "state.json").write_text('{"format": 2, "step": 6}')
    with pytest.raises(DamagedError, match=r"state\.json does not have the digest"):
        runs.read_state(url)
    (tmp_path / "state.json").unlink()
    with pytest.raises(DamagedError, match=r"state\.json is missing"):
        runs.read_state(url)


@pytest.mark.parametrize(
    ("keep", "left"), [(1, [20, 50]), (2, [20, 40, 50]), (3, [20, 30, 40, 50])]
)
def test_the_newest_and_the_best_are_kept(tmp_path: Path, keep: int, left: list[int]) -> None:
    for step, loss in ((10, 3.0), (20, 1.0), (30, None), (40, 2.0), (50, 4.0)):
        write(tmp_path, step, loss)
    runs.prune(str(tmp_path), keep)
    assert steps(tmp_path) == left
    assert [runs.step_of(name) for name in runs.complete(str(tmp_path))] == left


@pytest.mark.parametrize("keep", [5, 6])
def test_as_many_as_may_be_kept_are_all_kept(
    tmp_path: Path, keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (10, 20, 30, 40, 50):
        write(tmp_path, step, 1.0)
    monkeypatch.setattr(runs, "best", None)  # which reads every state, and is not asked
    runs.prune(str(tmp_path), keep)
    assert steps(tmp_path) == [10, 20, 30, 40, 50]


def test_what_was_never_evaluated_goes_by_age_alone(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        write(tmp_path, step)
    runs.prune(str(tmp_path), 1)
    assert steps(tmp_path) == [30]


def test_what_a_killed_write_left_goes_when_a_newer_one_is_complete(tmp_path: Path) -> None:
    half(tmp_path, 5)
    half(tmp_path, 15)
    runs.prune(str(tmp_path), 2)
    assert steps(tmp_path) == [5, 15]  # it may be on its way
    write(tmp_path, 10)
    half(tmp_path, 10_000)
    runs.prune(str(tmp_path), 2)
    assert steps(tmp_path) == [10, 15, 10_000]


def test_pruning_touches_nothing_but_checkpoints(tmp_path: Path) -> None:
    write(tmp_path, 10)
    write(tmp_path, 20)
    (tmp_path / "aaa").mkdir()  # sorts before the checkpoints
    (tmp_path / "samples").mkdir()
    (tmp_path / "start.json").write_text("{}")
    runs.prune(str(tmp_path), 1)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["aaa", checkpoint_name(20), "samples", "start.json"]


def test_a_checkpoint_disappears_with_its_digests_which_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = []
    real = storage.remove

    def seen(url: str) -> None:
        removed.append(url)
        real(url)

    def killed(url: str) -> None:
        removed.append(url)
        raise KeyboardInterrupt

    write(tmp_path, 10)
    write(tmp_path, 20)
    monkeypatch.setattr(storage, "remove", seen)
    monkeypatch.setattr(storage, "remove_tree", killed)
    with pytest.raises(KeyboardInterrupt):
        runs.prune(str(tmp_path), 1)
    folder = str(tmp_path / checkpoint_name(10))
    assert removed == [f"{folder}/digests.json", folder]
    assert runs.complete(str(tmp_path)) == [checkpoint_name(20)]
