"""Rows and samples reach the server once, whenever it answers; a run never waits long for it."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs
from pipeline.runs import checkpoint_name
from pipeline.training import publisher as module
from pipeline.training.publisher import Link, Publisher


class Told:
    """A tracking server that notes what it is told, and can be away."""

    def __init__(self, published: int = 0) -> None:
        self.published = published
        self.is_away = False
        self.steps: list[list[int]] = []
        self.texts: list[dict[str, bytes]] = []
        self.statuses: list[str] = []

    def published_step(self, mlflow_id: str) -> int:
        return self.published

    def end_run(self, mlflow_id: str, status: str) -> None:
        if self.is_away:
            raise ConnectionError("nobody answers")
        self.statuses.append(status)

    def log_rows(self, mlflow_id: str, rows: list[dict[str, Any]]) -> None:
        if self.is_away:
            raise ConnectionError("nobody answers")
        self.steps.append([row["step"] for row in rows])

    def log_texts(self, mlflow_id: str, files: dict[str, bytes]) -> None:
        if self.is_away:
            raise ConnectionError("nobody answers")
        self.texts.append(files)


def checkpoint(run: Path, step: int, rows: int) -> None:
    """A checkpoint of a step, and a journal of so many rows."""
    lines = "".join(json.dumps({"step": number}) + "\n" for number in range(1, rows + 1))
    (run / "metrics.jsonl").write_text(lines)
    runs.write_checkpoint(str(run / checkpoint_name(step)), {"state.json": b"{}"})


def publisher(told: Any, run: Path) -> Publisher:
    return Publisher(lambda: Link(told, "mlflow-id"), str(run))


def test_rows_are_published_once_when_a_checkpoint_has_made_them_final(tmp_path: Path) -> None:
    told = Told()
    sender = publisher(told, tmp_path)
    sender.publish()
    assert told.steps == []  # nothing there yet
    checkpoint(tmp_path, 2, rows=3)  # the third row belongs to a checkpoint on its way
    sender.publish()
    sender.publish()
    assert told.steps == [[1, 2]]
    checkpoint(tmp_path, 4, rows=4)
    sender.publish()
    assert told.steps == [[1, 2], [3, 4]]


def test_a_resumed_run_publishes_what_is_new(tmp_path: Path) -> None:
    told = Told(published=3)
    checkpoint(tmp_path, 5, rows=5)
    publisher(told, tmp_path).publish()
    assert told.steps == [[4, 5]]


def test_what_could_not_be_published_is_sent_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    sender = publisher(told, tmp_path)
    checkpoint(tmp_path, 2, rows=2)
    told.is_away = True
    sender.publish()
    assert not sender.publish()
    said = "the tracking server was not told of the run's progress: nobody answers"
    assert caplog.text.count(said) == 1  # once an outage
    told.is_away = False
    with caplog.at_level(logging.INFO, "unreasonable"):
        assert sender.publish()
    assert "answers again" in caplog.text
    assert told.steps == [[1, 2]]


def test_samples_are_sent_once_and_the_last_ones_at_the_end(
    tmp_path: Path,
) -> None:
    told = Told()
    sender = publisher(told, tmp_path)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "step-000001.txt").write_bytes(b"one")
    checkpoint(tmp_path, 2, rows=2)
    sender.publish()
    assert told.texts == [{"step-000001.txt": b"one"}]
    (tmp_path / "samples" / "step-000003.txt").write_bytes(b"\xff")
    told.is_away = True
    assert not sender.publish(is_last=True)
    told.is_away = False
    sender.start()
    assert sender.stop("FINISHED")
    assert told.texts[1:] == [{"step-000003.txt": b"\xff"}]


def test_a_publisher_works_beside_and_sends_the_rest_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PUBLISH_EVERY_S", 1000.0)
    told = Told()
    sender = publisher(told, tmp_path)
    assert sender.begin() == Link(told, "mlflow-id")
    assert sender.daemon
    checkpoint(tmp_path, 2, rows=2)
    assert told.steps == []
    assert sender.stop("KILLED")
    assert (told.steps, told.statuses, sender.is_alive()) == ([[1, 2]], ["KILLED"], False)


def test_a_server_that_dies_in_the_middle_gets_every_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dies(Told):
        def log_rows(self, mlflow_id: str, rows: list[dict[str, Any]]) -> None:
            self.is_away = len(self.steps) == 2
            super().log_rows(mlflow_id, rows)

    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 3)
    told = Dies()
    sender = publisher(told, tmp_path)
    checkpoint(tmp_path, 10, rows=10)
    assert not sender.publish()
    assert told.steps == [[1, 2, 3], [4, 5, 6]]
    told.steps.append([])  # it is back
    assert sender.publish()
    assert told.steps[3:] == [[7, 8, 9], [10]]


def test_a_run_that_is_not_recorded_at_its_start_is_recorded_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PUBLISH_EVERY_S", 0.01)
    told = Told()
    answers = threading.Event()
    recorded = threading.Event()

    def connect() -> Link:
        if not answers.is_set():
            raise ConnectionError("nobody answers")
        recorded.set()
        return Link(told, "mlflow-id")  # type: ignore[arg-type]

    sender = Publisher(connect, str(tmp_path))
    assert sender.begin() is None
    checkpoint(tmp_path, 2, rows=2)
    answers.set()
    assert recorded.wait(30)
    assert sender.stop("FINISHED")
    assert (told.steps, told.statuses) == ([[1, 2]], ["FINISHED"])


def test_a_run_waits_for_a_silent_server_no_longer_than_is_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert (module.START_S, module.END_S) == (15.0, 30.0)  # docs/operations.md
    monkeypatch.setattr(module, "START_S", 0.01)
    monkeypatch.setattr(module, "END_S", 0.01)
    never = threading.Event()

    def connect() -> Link:
        never.wait()
        raise ConnectionError

    sender = Publisher(connect, str(tmp_path))
    assert sender.begin() is None
    assert not sender.stop("FINISHED")
    assert "does not know yet how the run ended" in caplog.text
    never.set()
    sender.join()
