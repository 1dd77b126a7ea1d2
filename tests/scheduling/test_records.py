from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipeline.scheduling.records import (
    FAILED,
    LOST,
    SUCCEEDED,
    Attempt,
    Ended,
    Entry,
    Outcome,
    Started,
)
from tests.scheduling.pretend import BROKEN, BUILT, attempt


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


def test_an_entry_is_read_as_it_was_written() -> None:
    started = Started(time=1.0, by="w", host="h")
    ended = Ended(time=2.0, by="w", status=FAILED, outcome=BROKEN)
    for entry in (Entry(attempt()), Entry(attempt(), started, ended, told=True)):
        assert Entry.from_json(entry.to_json()) == entry


def test_what_has_failed() -> None:
    states = {SUCCEEDED: False, FAILED: True, LOST: True}
    for status, has_failed in states.items():
        ended = Ended(time=2.0, by="w", status=status, outcome=BROKEN)
        assert Entry(attempt(), None, ended).has_failed == has_failed
    assert not Entry(attempt()).has_failed
