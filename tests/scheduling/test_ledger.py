from __future__ import annotations

import dataclasses
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import storage
from pipeline.errors import DamagedError, InputError
from pipeline.scheduling import ledger as module
from pipeline.scheduling.ledger import (
    FAILED,
    LOST,
    SUCCEEDED,
    Attempt,
    Ended,
    Entry,
    Ledger,
    Outcome,
    Started,
)
from tests.scheduling.pretend import BROKEN, BUILT, attempt


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger whose clock stands, and whose writer is called w."""
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 2000.5))
    one = Ledger(str(tmp_path))
    one.writer = "w"
    return one


def written(folder: Path) -> dict[str, str]:
    """All files under a folder, by their path in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


# ---- the files' bytes


def test_the_bytes_of_an_attempt(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.append(attempt(number=17))
    assert written(tmp_path) == {
        "schedules/c/000017.json": "\n".join(
            [
                "{",
                ' "by": "someone",',
                ' "command": [',
                '  "jobs/build_corpus.py",',
                '  "--recipe",',
                '  "r",',
                '  "--root",',
                '  "/r"',
                " ],",
                ' "corpus": "c",',
                ' "format": 1,',
                ' "instant": "20260501T120100Z",',
                ' "number": 17,',
                ' "retries": 2,',
                ' "retry_after_s": 60.0,',
                ' "schedule": "nightly",',
                ' "stage": "build",',
                ' "submitted": 1000.0,',
                ' "tried": 0',
                "}\n",
            ]
        )
    }


def test_the_bytes_of_what_became_of_it(ledger: Ledger, tmp_path: Path) -> None:
    built = Outcome(exit_status=0, seconds=1.5, result={"version": "v"})
    assert ledger.start(attempt(number=17))
    assert ledger.end(attempt(number=17), SUCCEEDED, built)
    assert written(tmp_path) == {
        "schedules/c/000017.started.json": ('{\n "by": "w",\n "host": "w",\n "time": 2000.5\n}\n'),
        "schedules/c/000017.ended.json": (
            '{\n "by": "w",\n "error": "",\n "exit_status": 0,\n "result": {\n  "version": "v"\n'
            ' },\n "seconds": 1.5,\n "status": "succeeded",\n "time": 2000.5\n}\n'
        ),
    }


def test_the_bytes_of_an_end_that_the_job_could_not_tell(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.end(attempt(), LOST, Outcome(error="gone"))
    assert written(tmp_path) == {
        "schedules/c/000001.ended.json": (
            '{\n "by": "w",\n "error": "gone",\n "status": "lost",\n "time": 2000.5\n}\n'
        )
    }


def test_a_schedule_is_known_since_it_was_first_seen(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.known_since("nightly", 3.5) == 3.5
    assert ledger.known_since("nightly", 4.5) == 3.5
    assert ledger.known_since("weekly", 4.5) == 4.5
    files = written(tmp_path)
    assert files["schedules/.known/nightly.json"] == '{\n "by": "w",\n "time": 3.5\n}\n'
    assert len(files) == 2


# ---- what is read is what was written


def test_records_are_read_as_they_were_written() -> None:
    command = ("jobs/train.py", "--root", "/r")
    whole = attempt(command=command)
    assert Attempt.from_json(whole.to_json()) == whole
    assert whole.to_json()["command"] == list(command)
    for outcome in (BUILT, BROKEN, Outcome(error="gone"), Outcome()):
        assert Outcome.from_json(outcome.to_json()) == outcome
        ended = Ended(time=1.0, by="w", status=FAILED, outcome=outcome)
        assert Ended.from_json(ended.to_json()) == ended
    started = Started(time=1.0, by="w", host="h")
    assert Started.from_json(started.to_json()) == started
    assert Started.from_json({"time": 1, "by": "w"}) == Started(time=1.0, by="w", host="")


@pytest.mark.parametrize(
    "record",
    [
        attempt(),
        Started(time=1.0, by="w", host="w"),
        BUILT,
        Ended(time=1.0, by="w", status=FAILED, outcome=BROKEN),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_is_made_by_names_and_never_changed(record: Any) -> None:
    values = vars(record)
    assert type(record)(**values) == record
    with pytest.raises(TypeError, match="positional"):
        type(record)(*values.values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, next(iter(values)), None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Entry(attempt()).started = None  # type: ignore[misc]


def test_an_outcome_says_only_what_is_known() -> None:
    assert Outcome().to_json() == {"error": ""}
    assert BROKEN.to_json() == {
        "error": "disk full",
        "exit_status": 1,
        "seconds": 1.0,
        "result": {},
    }
    assert Outcome.from_json({}) == Outcome(error="", exit_status=None, seconds=None, result=None)


def test_entries_are_in_order_and_know_what_became_of_them(ledger: Ledger) -> None:
    assert ledger.entries("c") == []
    for number in (2, 10, 1):
        assert ledger.append(attempt(number=number))
    ledger.append(attempt(corpus="d", number=3))
    ledger.start(attempt(number=2))
    ledger.end(attempt(number=2), FAILED, BROKEN)
    ledger.start(attempt(number=10))
    started = Started(time=2000.5, by="w", host="w")
    ended = Ended(time=2000.5, by="w", status=FAILED, outcome=BROKEN)
    assert ledger.entries("c") == [
        Entry(attempt(number=1), None, None),
        Entry(attempt(number=2), started, ended),
        Entry(attempt(number=10), started, None),
    ]
    assert [entry.status for entry in ledger.entries("c")] == ["submitted", "failed", "running"]
    assert ledger.entry("c", 2) == ledger.entries("c")[1]
    assert ledger.entry("c", 10) == ledger.entries("c")[2]


def test_an_end_without_a_start_is_an_end(ledger: Ledger) -> None:
    ledger.append(attempt())
    ledger.end(attempt(), SUCCEEDED, BUILT)
    assert ledger.entry("c", 1).started is None
    assert ledger.entry("c", 1).status == "succeeded"


def test_files_of_others_are_no_attempts(ledger: Ledger, tmp_path: Path) -> None:
    ledger.append(attempt())
    folder = tmp_path / "schedules" / "c"
    for name in (".writing-000002.json-0123abcd", "notes.txt", "000003.json.bak", "README"):
        (folder / name).write_text("{}")
    assert [entry.attempt.number for entry in ledger.entries("c")] == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", r"/schedules/c/000001\.json is not what the scheduler writes; move it away\.$"),
        (
            '{"format": 2}',
            r"c/000001\.json is not a format 1 attempt; use the version that wrote it\.$",
        ),
        ("{}", "is not a format 1 attempt"),
        ("{", r"c/000001\.json is not JSON"),
    ],
)
def test_a_damaged_ledger_is_refused_by_name(
    ledger: Ledger, tmp_path: Path, text: str, message: str
) -> None:
    storage.write_bytes(str(tmp_path / "schedules" / "c" / "000001.json"), text.encode())
    with pytest.raises(DamagedError, match=message):
        ledger.entries("c")
    with pytest.raises(DamagedError, match=message):
        ledger.entry("c", 1)


# ---- each file once


def test_a_number_is_taken_once(tmp_path: Path) -> None:
    one, two = Ledger(str(tmp_path)), Ledger(str(tmp_path))
    mine = attempt(by=one.writer)
    assert one.append(mine)
    assert one.append(mine)  # a store that answers late: it is our own
    assert not two.append(attempt(by=two.writer))
    assert two.append(attempt(by=two.writer, number=2))
    assert two.append(attempt(by=two.writer, corpus="d"))
    assert one.entry("c", 1).attempt.by == one.writer


def test_a_job_starts_once(tmp_path: Path) -> None:
    one, two = Ledger(str(tmp_path)), Ledger(str(tmp_path))
    one.append(attempt())
    assert one.start(attempt())
    assert not two.start(attempt())
    started = two.entry("c", 1).started
    assert started is not None
    assert (started.by, started.host) == (one.writer, one.writer)


def test_the_first_word_about_an_end_counts(tmp_path: Path) -> None:
    one, two = Ledger(str(tmp_path)), Ledger(str(tmp_path))
    one.append(attempt())
    assert one.end(attempt(), SUCCEEDED, BUILT)
    assert not two.end(attempt(), FAILED, BROKEN)
    ended = two.entry("c", 1).ended
    assert ended is not None
    assert (ended.status, ended.outcome, ended.by) == (SUCCEEDED, BUILT, one.writer)


def test_no_two_writers_have_one_name(tmp_path: Path) -> None:
    names = {Ledger(str(tmp_path)).writer for _ in range(20)}
    assert len(names) == 20
    own = re.escape(f"{socket.gethostname()}-{os.getpid()}-")
    assert all(re.fullmatch(own + "[0-9a-f]{8}", name) for name in names)


# ---- what follows from an attempt


def test_the_id_of_a_job_says_whose_it_is() -> None:
    job = attempt(schedule="s", instant="20260501T120100Z", stage="train", tried=3, number=17)
    assert job.job_id == "s-20260501T120100Z-train-3-c-17"


def test_the_root_of_an_attempt_is_its_commands() -> None:
    assert attempt(command=("jobs/x.py", "--root", "s3://b/r", "--keep", "3")).root == "s3://b/r"


@pytest.mark.parametrize(
    ("tried", "wait"), [(0, 100.0), (1, 200.0), (2, 400.0), (3, None), (4, None)]
)
def test_a_failure_waits_twice_as_long_each_time(tried: int, wait: float | None) -> None:
    for status in (FAILED, LOST):
        ended = Ended(time=5000.0, by="w", status=status, outcome=BROKEN)
        failed = Entry(attempt(tried=tried, retries=3, retry_after_s=100.0), None, ended)
        assert failed.retry_at() == (None if wait is None else 5000.0 + wait)


def test_what_runs_or_came_out_well_is_not_tried_again() -> None:
    started = Started(time=1.0, by="w", host="w")
    succeeded = Ended(time=5000.0, by="w", status=SUCCEEDED, outcome=BUILT)
    assert Entry(attempt()).status == "submitted"
    assert Entry(attempt()).retry_at() is None
    assert Entry(attempt(), started).retry_at() is None
    assert Entry(attempt(), started, succeeded).retry_at() is None


def test_what_is_not_there_or_not_ours_is_one_line(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    folder = tmp_path / "schedules" / "c"
    with pytest.raises(InputError) as caught:
        ledger.entry("c", 8)
    assert str(caught.value) == (
        f"no attempt c/8 under {ledger.url}; is --root the scheduler's? See --list."
    )
    first = attempt()
    assert ledger.append(first)
    assert ledger.entry("c", 1).attempt == first
    for name in ("x1.json", "\u0661.json"):  # a digit, but none that a scheduler writes
        (folder / name).write_text("{}")
        with pytest.raises(DamagedError) as caught_too:
            ledger.entries("c")
        assert str(caught_too.value) == (
            f"{ledger.url} holds {name}, which no scheduler wrote; move it away."
        )
        (folder / name).unlink()
    (folder / "000001.started.json").write_text('{"odd": 1}')
    with pytest.raises(DamagedError) as caught_last:
        ledger.entry("c", 1)
    said = str(caught_last.value)
    start = f"{folder}/000001.json, or a note beside it, is not what the scheduler writes ("
    assert said.startswith(start)
    assert said.endswith("); move it away.")
    assert "Error: " in said.removeprefix(start)
