from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.scheduling import ledger as module
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.overview import ScheduleRow, overview, table
from pipeline.scheduling.records import FAILED, LOST, SUCCEEDED, Outcome
from tests.scheduling.pretend import BROKEN, attempt, plan

NOW = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)
BUILT = Outcome(exit_status=0, seconds=1.0, result={"version": "v1"})


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger in which everything ends a minute before NOW."""
    clock = SimpleNamespace(time=lambda: NOW.timestamp() - 60)
    monkeypatch.setattr(module, "time", clock)
    return Ledger(str(tmp_path))


def test_a_schedule_that_has_not_fired(ledger: Ledger) -> None:
    rows = overview([plan("a", cron="0 3 * * *"), plan("b", cron="0 0 */20 * 1L")], ledger, NOW)
    assert [row.to_json() for row in rows] == [
        {
            "schedule": "a",
            "corpus": "pystdlib",
            "next": "2026-05-02T03:00:00+00:00",
            "last": None,
            "stage": None,
            "tried": 0,
            "status": "never",
            "error": None,
            "result": None,
            "age_s": None,
            "will_retry": False,
        },
        {**rows[0].to_json(), "schedule": "b", "next": None},
    ]


def test_how_each_schedule_last_came_out(ledger: Ledger) -> None:
    def add(number: int, schedule: str, **changes: Any) -> Any:
        one = attempt(corpus="pystdlib", number=number, schedule=schedule, **changes)
        ledger.append(one)
        return one

    submitted = NOW.timestamp() - 200
    ledger.end(add(1, "succeeded"), SUCCEEDED, BUILT)
    ledger.end(add(2, "failed", tried=2, stage="train"), FAILED, BROKEN)
    ledger.end(add(3, "retried", tried=1), LOST, Outcome(error="the cluster is lost"))
    ledger.end(add(4, "running"), FAILED, BROKEN)  # the attempt before this one
    ledger.start(add(5, "running", submitted=submitted))
    add(6, "submitted", submitted=submitted)
    names = ["succeeded", "failed", "retried", "running", "submitted"]
    rows = [row.to_json() for row in overview([plan(name) for name in names], ledger, NOW)]
    usual = {"corpus": "pystdlib", "next": "2026-05-01T12:01:00+00:00", "last": attempt().instant}
    expected = [
        ("build", 1, "succeeded", "", {"version": "v1"}, 60.0, False),
        ("train", 3, "failed", "disk full", {}, 60.0, False),
        ("build", 2, "lost", "the cluster is lost", None, 60.0, True),
        ("build", 1, "running", None, None, 200.0, False),
        ("build", 1, "submitted", None, None, 200.0, False),
    ]
    fields = ("stage", "tried", "status", "error", "result", "age_s", "will_retry")
    assert rows == [
        {"schedule": name, **usual, **dict(zip(fields, values, strict=True))}
        for name, values in zip(names, expected, strict=True)
    ]


@pytest.mark.parametrize(
    ("status", "will_retry", "given_up"),
    [
        ("never", False, False),
        ("submitted", False, False),
        ("running", False, False),
        ("succeeded", False, False),
        ("failed", True, False),
        ("failed", False, True),
        ("lost", True, False),
        ("lost", False, True),
    ],
)
def test_a_firing_is_given_up_when_it_failed_and_no_try_is_left(
    status: str, will_retry: bool, given_up: bool
) -> None:
    row = ScheduleRow(schedule="a", corpus="c", next=None, status=status, will_retry=will_retry)
    assert row.given_up is given_up


def test_the_table_for_people() -> None:
    never = ScheduleRow(schedule="a", corpus="c", next=None)
    failed = ScheduleRow(
        schedule="b",
        corpus="d",
        next="2026-05-02T03:00:00+00:00",
        last="20260501T120100Z",
        stage="build",
        tried=1,
        status="failed",
        error="e" * 81,
        age_s=65.0,
    )
    fine = ScheduleRow(
        schedule="f", corpus="g", next=None, stage="train", status="succeeded", error="", age_s=0.0
    )
    assert table([never, failed, fine]) == [
        ("schedule", "corpus", "next", "last", "came out", "age"),
        ("a", "c", "never", "", "never", ""),
        (
            *("b", "d", "2026-05-02T03:00:00+00:00", "20260501T120100Z"),
            f"build failed ({'e' * 80})",
            "1m05s",
        ),
        ("f", "g", "never", "", "train succeeded", "0s"),
    ]
