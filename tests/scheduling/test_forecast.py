"""What a look would submit, compared with what it then submits; the ledger stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.scheduling.forecast import forecast
from pipeline.scheduling.ledger import Ledger
from tests.scheduling.pretend import BROKEN, MINUTE, START, plan, scheduler_at


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_firings_and_commands_are_said_and_nothing_is_recorded(tmp_path: Path) -> None:
    trains = plan("nightly", cron="0 3 * * *", train={"num_workers": 2})
    found = forecast([trains], str(tmp_path), START)
    (row,) = found.schedules
    assert row.firings == (
        "2026-05-02T03:00:00+00:00",
        "2026-05-03T03:00:00+00:00",
        "2026-05-04T03:00:00+00:00",
    )
    assert row.build == f"jobs/build_corpus.py --recipe pystdlib --root {tmp_path}"
    assert row.train.endswith("--num_workers 2 --corpus pystdlib@VERSION")
    assert (row.root, row.busy, found.now) == (str(tmp_path), False, ())
    assert files(tmp_path) == set()


def test_a_schedules_own_root_is_the_one_that_counts(tmp_path: Path) -> None:
    own = plan(build={"root": "/elsewhere"})
    assert forecast([own], str(tmp_path), START).schedules[0].root == "/elsewhere"


def test_what_is_due_is_what_the_next_look_submits(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path)
    scheduler.look(START)
    assert forecast(scheduler.schedules, str(tmp_path), START).now == ()
    later = START + MINUTE
    before = files(tmp_path)
    (due,) = forecast(scheduler.schedules, str(tmp_path), later).now
    assert files(tmp_path) == before
    scheduler.look(later)
    (submitted,) = cluster.known.values()
    assert (due.job_id, due.stage) == (submitted.job_id, "build")
    assert due.command == " ".join(submitted.command)
    # Under way: nobody but its cluster knows more.
    running = forecast(scheduler.schedules, str(tmp_path), later + MINUTE)
    assert running.now == ()
    assert running.schedules[0].busy
    with pytest.raises(InputError, match="is busy"):
        forecast(scheduler.schedules, str(tmp_path), later, run_now="every")
    cluster.run(status="failed", outcome=BROKEN)
    (retry,) = forecast(scheduler.schedules, str(tmp_path), later + 5_000_000 * MINUTE).now
    assert "-build-1-" in retry.job_id


def test_a_firing_by_hand(tmp_path: Path) -> None:
    (now,) = forecast([plan()], str(tmp_path), START, run_now="every").now
    assert now.schedule == "every"
    with pytest.raises(InputError, match="no schedule 'nope'; there are every"):
        forecast([plan()], str(tmp_path), START, run_now="nope")
    assert Ledger(str(tmp_path)).entries("pystdlib") == []
