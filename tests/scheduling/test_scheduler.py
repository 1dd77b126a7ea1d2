"""The scheduler, with a clock and a cluster of the tests' own: crashes, rivals, lost heads."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import storage
from pipeline.errors import DamagedError, InputError
from pipeline.scheduling import ledger as ledger_module
from pipeline.scheduling import scheduler as module
from pipeline.scheduling.history import History
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.records import FAILED, LOST, SUCCEEDED, Entry, Outcome
from pipeline.scheduling.scheduler import Scheduler
from pipeline.scheduling.telling import Telling
from tests.scheduling.pretend import (
    BROKEN,
    BUILT,
    HOUR,
    MINUTE,
    START,
    Cluster,
    KilledError,
    attempt,
    plan,
    scheduler_at,
)


@pytest.fixture(autouse=True)
def _one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger's clock shows the instant of the last look."""
    shown = SimpleNamespace(now=START.timestamp())
    look = Scheduler.look

    def looked(self: Scheduler, now: datetime) -> None:
        shown.now = now.timestamp()
        look(self, now)

    monkeypatch.setattr(Scheduler, "look", looked)
    monkeypatch.setattr(ledger_module, "time", SimpleNamespace(time=lambda: shown.now))


def entries(scheduler: Scheduler) -> list[Entry]:
    return scheduler.ledger.entries("pystdlib")


def rows(scheduler: Scheduler) -> list[tuple[str, str, int, str]]:
    """Each attempt's firing (hour and minute), stage, try and status."""
    return [
        (entry.attempt.instant[9:13], entry.attempt.stage, entry.attempt.tried, entry.status)
        for entry in entries(scheduler)
    ]


def later(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# ---- builds


def test_each_firing_is_built_once_and_never_two_at_a_time(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path)
    scheduler.look(START)
    assert rows(scheduler) == []  # nothing from before it was known
    scheduler.look(START + MINUTE)
    scheduler.look(START + MINUTE)
    assert rows(scheduler) == [("1201", "build", 0, "submitted")]
    scheduler.look(START + 4 * MINUTE)
    assert len(entries(scheduler)) == 1  # it is still running
    cluster.run()
    scheduler.look(START + 4 * MINUTE)
    # Of three missed firings, the last.
    assert rows(scheduler)[1:] == [("1204", "build", 0, "submitted")]
    assert entries(scheduler)[0].attempt.job_id == "every-20260501T120100Z-build-0-pystdlib-1"


def test_an_attempt_holds_all_that_its_job_and_its_retries_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 77.5))
    scheduler, cluster = scheduler_at(
        tmp_path, plan("mine", build={"keep": 5}, retries=4, retry_after_s=30)
    )
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    (entry,) = entries(scheduler)
    root = str(tmp_path)
    assert entry.attempt == attempt(
        corpus="pystdlib",
        number=1,
        schedule="mine",
        instant="20260501T120100Z",
        stage="build",
        tried=0,
        command=("jobs/build_corpus.py", *f"--recipe pystdlib --root {root} --keep 5".split()),
        submitted=77.5,
        by=scheduler.ledger.writer,
        retries=4,
        retry_after_s=30.0,
    )
    assert isinstance(entry.attempt.retry_after_s, float)
    assert list(cluster.known.values()) == [entry.attempt]


def test_schedules_of_one_corpus_take_turns(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan("b"), plan("a"), plan("other", recipe="names"))
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    # The same instant: the names decide, not the order in the file.
    assert [attempt.schedule for attempt in cluster.known.values()] == ["a", "other"]
    cluster.run()
    scheduler.look(START + MINUTE)
    assert [attempt.schedule for attempt in cluster.known.values()] == ["a", "other", "b"]
    assert [entry.attempt.number for entry in entries(scheduler)] == [1, 2]


def test_a_busy_corpus_keeps_no_other_waiting(tmp_path: Path) -> None:
    # Corpora are looked at in the order of the file: the busy one comes first.
    scheduler, cluster = scheduler_at(tmp_path, plan("a"), plan("z", recipe="names"))
    scheduler.look(START)
    scheduler.run_now("a", START)
    scheduler.look(START + MINUTE)
    assert [attempt.corpus for attempt in cluster.known.values()] == ["pystdlib", "names"]


def test_a_damaged_ledger_of_one_corpus_keeps_no_other_waiting(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan("a"), plan("z", recipe="names"))
    scheduler.look(START)
    folder = tmp_path / "schedules" / "pystdlib"
    folder.mkdir(parents=True)
    (folder / "000001.json").write_text("{")
    with pytest.raises(DamagedError, match=r"pystdlib/000001\.json is not JSON"):
        scheduler.look(START + MINUTE)
    assert [attempt.corpus for attempt in cluster.known.values()] == ["names"]


def test_what_has_waited_longest_is_built_first(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(
        tmp_path, plan("a", cron="30 12 * * *"), plan("z", cron="20 12 * * *")
    )
    scheduler.look(START)
    for _ in range(3):
        scheduler.look(START + HOUR)
        cluster.run()
    assert [entry.attempt.schedule for entry in entries(scheduler)] == ["z", "a"]


def test_a_schedule_that_is_new_to_a_corpus_catches_up_nothing(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan("a"))
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.run()
    both = Scheduler([plan("b", cron="0 * * * *")], scheduler.ledger, cluster, scheduler.root)
    both.look(START + 2 * HOUR)
    assert len(entries(scheduler)) == 1
    both.look(START + 3 * HOUR)
    assert rows(scheduler)[1:] == [("1500", "build", 0, "submitted")]


def test_another_schedules_firing_is_not_ones_own(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(
        tmp_path, plan("early", cron="10 12 * * *"), plan("late", cron="50 12 * * *")
    )
    scheduler.look(START)
    scheduler.run_now("late", START + 30 * MINUTE)
    cluster.run()
    scheduler.look(START + 30 * MINUTE)
    assert rows(scheduler)[1:] == [("1210", "build", 0, "submitted")]


# ---- retries


def test_a_failure_is_tried_again_with_backoff_and_then_given_up(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan(cron="0 13 * * *", retry_after_s=100))
    now = START + 2 * HOUR
    scheduler.look(START)
    scheduler.look(now)
    for tried, wait in ((0, 100), (1, 200), (2, None)):
        assert rows(scheduler)[-1] == ("1300", "build", tried, "submitted")
        cluster.run(FAILED, BROKEN)
        last = entries(scheduler)[-1]
        assert last.ended is not None
        if wait is None:
            assert last.retry_at() is None
        else:
            assert last.retry_at() == last.ended.time + wait
            scheduler.look(later(last.ended.time + wait - 1))
            assert len(entries(scheduler)) == tried + 1
            scheduler.look(later(last.ended.time + wait + 1))
    scheduler.look(now)
    assert len(entries(scheduler)) == 3
    assert [row[2] for row in rows(scheduler)] == [0, 1, 2]


def test_a_retry_is_due_at_its_second_and_has_the_first_trys_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly = {"cron": "1 * * * *"}
    scheduler, cluster = scheduler_at(
        tmp_path, plan(retry_after_s=100, build={"keep": 5}, **hourly)
    )
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.run(FAILED, BROKEN)
    # The schedule has changed meanwhile, and another scheduler looks.
    changed = plan(retry_after_s=7, retries=9, build={"keep": 1}, **hourly)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 88.5))
    two = Scheduler([changed], Ledger(str(tmp_path)), cluster, "/elsewhere")
    ended = (START + MINUTE).timestamp()
    two.look(later(ended + 99.0))
    assert len(entries(scheduler)) == 1
    two.look(later(ended + 100.0))
    first, second = (entry.attempt for entry in entries(scheduler))
    assert second == attempt(
        corpus="pystdlib",
        number=2,
        schedule="every",
        instant=first.instant,
        stage="build",
        tried=1,
        command=first.command,
        submitted=88.5,
        by=two.ledger.writer,
        retries=2,
        retry_after_s=100.0,
    )


def test_a_back_off_keeps_no_firing_waiting(tmp_path: Path) -> None:
    """Neither those of other schedules of the corpus, nor later ones of its own."""
    scheduler, cluster = scheduler_at(
        tmp_path,
        plan("a", cron="1,4 * * * *", retry_after_s=86_400),
        plan("b", cron="*/2 * * * *"),
    )
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.run(FAILED, BROKEN)
    scheduler.look(START + 2 * MINUTE)
    assert rows(scheduler)[1:] == [("1202", "build", 0, "submitted")]  # of b
    cluster.run()
    scheduler.look(START + 4 * MINUTE)
    assert entries(scheduler)[-1].attempt.schedule == "a"
    assert rows(scheduler)[2:] == [("1204", "build", 0, "submitted")]
    cluster.run()
    scheduler.look(START + 5 * MINUTE)
    cluster.run()
    # What was firing 1201 is not tried again: a later firing took its place.
    assert [row[0] for row in rows(scheduler)] == ["1201", "1202", "1204", "1204"]
    scheduler.look(START + 5 * MINUTE + 24 * HOUR)
    assert entries(scheduler)[-1].attempt.tried == 0


def test_a_retry_comes_after_attempts_of_others(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(
        tmp_path, plan("a", cron="1 12 * * *", retry_after_s=600), plan("b", cron="*/5 * * * *")
    )
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.run(FAILED, BROKEN)
    scheduler.look(START + 5 * MINUTE)
    cluster.run()
    scheduler.look(START + 12 * MINUTE)
    # Since 12:10:00 b's firing is due, since 12:11:30 a's retry.
    assert rows(scheduler)[2:] == [("1210", "build", 0, "submitted")]
    cluster.run()
    scheduler.look(START + 12 * MINUTE)
    assert rows(scheduler)[3:] == [("1201", "build", 1, "submitted")]
    assert [entry.attempt.number for entry in entries(scheduler)] == [1, 2, 3, 4]


# ---- a wrong clock


def test_a_look_at_a_wrong_future_clock_silences_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = START.replace(year=2031)
    scheduler, cluster = scheduler_at(tmp_path, plan(cron="0 * * * *", retries=2))
    scheduler.look(wrong)  # it is known since 2031
    scheduler.look(START)
    assert caplog.messages == [
        (
            "schedule every is known since "
            f"{wrong.astimezone().isoformat(timespec='seconds')}, which is ahead of now: "
            "a clock was wrong. It is known from now on."
        )
    ]
    scheduler.look(wrong + HOUR)  # it fires in 2031, and fails there
    cluster.run(FAILED, BROKEN)
    caplog.clear()
    for hour in (1, 2, 3):
        scheduler.look(START + hour * HOUR)
        cluster.run()
    assert [row[:3] for row in rows(scheduler)] == [
        ("1300", "build", 0),
        ("1300", "build", 0),
        ("1400", "build", 0),
        ("1500", "build", 0),
    ]
    assert caplog.messages == [  # once
        (
            "every-20310501T130000Z-build-0-pystdlib-1 fired ahead of now: a clock was wrong; "
            "it is set aside"
        )
    ]


def test_a_retry_does_not_wait_for_a_wrong_clock(tmp_path: Path) -> None:
    wrong = START.replace(year=2031)
    scheduler, cluster = scheduler_at(tmp_path, plan(cron="1 12 * * *", retry_after_s=60))
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    scheduler.look(wrong)  # it runs; and its end is recorded while the clock is wrong
    cluster.run(FAILED, BROKEN)
    scheduler.look(START + 2 * MINUTE)
    assert rows(scheduler)[1:] == [("1201", "build", 1, "submitted")]


def test_clocks_that_differ_by_minutes_are_believed(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan(cron="*/30 * * * *"))
    scheduler.look(START)
    scheduler.look(START + 30 * MINUTE)
    cluster.run()
    for minute in (1, 20, 29):
        scheduler.look(START + minute * MINUTE)  # a scheduler whose clock is behind
    assert [row[0] for row in rows(scheduler)] == ["1230"]


# ---- those who are told


class Told(Telling):
    """Someone who is told, and hears it or does not."""

    def __init__(self, hears: bool = True) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.hears = hears

    def tell(self, on_failure: str, entry: Entry, now: datetime) -> bool:
        assert on_failure == "notify"
        self.heard.append(entry.attempt.job_id)
        return self.hears


def test_a_firing_that_failed_for_good_is_told_once(tmp_path: Path) -> None:
    one, cluster = scheduler_at(
        tmp_path, plan(cron="1 12 * * *", retries=1, retry_after_s=60, on_failure="notify")
    )
    told = Told(hears=False)
    scheduler = Scheduler(one.schedules, one.ledger, cluster, one.root, told)
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.run(FAILED, BROKEN)
    scheduler.look(START + MINUTE)
    assert told.heard == []  # it is tried again
    scheduler.look(START + 3 * MINUTE)
    cluster.run(FAILED, BROKEN)
    job_id = entries(one)[-1].attempt.job_id
    scheduler.look(START + 3 * MINUTE)
    scheduler.look(START + 4 * MINUTE)
    assert told.heard == [job_id, job_id]  # until somebody hears it
    told.hears = True
    scheduler.look(START + 5 * MINUTE)
    another = Scheduler(one.schedules, Ledger(str(tmp_path)), cluster, one.root, told)
    for each in (scheduler, another):
        each.look(START + 6 * MINUTE)
    assert told.heard == [job_id] * 3
    assert [entry.told for entry in entries(one)] == [False, True]


def test_a_failure_whose_place_a_later_firing_took_is_told(tmp_path: Path) -> None:
    one, cluster = scheduler_at(
        tmp_path, plan("a", retry_after_s=3600, on_failure="notify"), plan("b", cron="2 12 * * *")
    )
    told = Told()
    scheduler = Scheduler(one.schedules, one.ledger, cluster, one.root, told)
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.run(FAILED, BROKEN)
    scheduler.look(START + 2 * MINUTE)
    cluster.run(FAILED, BROKEN)
    scheduler.look(START + 2 * MINUTE)
    first = entries(one)[0].attempt
    assert told.heard == [first.job_id]  # b has nobody to tell


# ---- a long row


def test_a_look_at_rest_lists_each_corpus_once_and_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan("a"), plan("b", cron="0 3 * * *"))
    scheduler.look(START)
    for minute in range(1, 25):
        scheduler.look(START + minute * MINUTE)
        cluster.run()
    scheduler.look(START + 24 * MINUTE)
    asked: list[tuple[str, str]] = []

    def noting(name: str) -> None:
        real = getattr(storage, name)

        def ask(url: str) -> Any:
            asked.append((name, Path(url).name))
            return real(url)

        monkeypatch.setattr(storage, name, ask)

    noting("names")
    noting("read_json")
    scheduler.look(START + 24 * MINUTE)
    assert asked == [("names", "pystdlib")]


def test_a_year_of_attempts_is_folded_and_decides_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "KEPT", 10)
    train = {"cron": "1 12 * * *", "train": {}, "retries": 0}
    rare = plan("rare", cron="2 12 1 5 *")
    one, cluster = scheduler_at(tmp_path, plan("daily", **train), rare)
    one.look(START)
    for day in range(30):
        now = START + 24 * day * HOUR + MINUTE
        one.look(now)
        cluster.run(FAILED if day % 10 == 3 else SUCCEEDED, BROKEN if day % 10 == 3 else BUILT)
        one.look(now + MINUTE)  # a training on v1, once; and the rare one
        cluster.run()
        one.look(now + 2 * MINUTE)
        cluster.run()
    history = Ledger(str(tmp_path)).history("pystdlib")
    numbers = [entry.attempt.number for entry in history.entries]
    assert 10 <= len(numbers) <= 21
    assert numbers == list(range(numbers[0], 33))
    assert history.next_number == 33
    (summary,) = history.summaries
    assert (summary.year, summary.last) == (2026, numbers[0] - 1)
    assert summary.trained == ("pystdlib@v1",)
    assert sum(summary.counts["daily"].values()) + summary.counts["rare"]["succeeded"] == (
        numbers[0] - 1
    )
    # The training on v1 and the rare firing are not repeated; nothing else is lost.
    assert summary.newest["rare"].attempt.instant == "20260501T120200Z"
    assert list(history.newest) == ["daily", "rare"]
    files = list((tmp_path / "schedules" / "pystdlib").iterdir())
    assert len(files) <= 3 * 21 + 1


# ---- trainings


def test_a_new_version_is_trained_on_once(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan(cron="0 * * * *", train={"num_workers": 2}))
    scheduler.look(START)
    scheduler.look(START + HOUR)
    cluster.run()
    scheduler.look(START + HOUR)
    assert rows(scheduler)[-1] == ("1300", "train", 0, "submitted")
    assert entries(scheduler)[-1].attempt.command == (
        "jobs/train.py",
        *f"--recipe pystdlib --root {tmp_path} --num_workers 2 --corpus pystdlib@v1".split(),
    )
    assert entries(scheduler)[-1].attempt.number == 2
    cluster.run()
    scheduler.look(START + 2 * HOUR)
    cluster.run()  # the same version: its sources have not changed
    scheduler.look(START + 2 * HOUR)
    assert [entry[1] for entry in rows(scheduler)] == ["build", "train", "build"]
    scheduler.look(START + 3 * HOUR)
    cluster.run(outcome=Outcome(exit_status=0, result={"version": "v2"}))
    scheduler.look(START + 3 * HOUR)
    assert entries(scheduler)[-1].attempt.command[-1] == "pystdlib@v2"


def test_a_training_comes_before_a_build_that_is_due(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan("a", train={}), plan("b"))
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.run()
    scheduler.look(START + 2 * MINUTE)
    assert rows(scheduler)[1:] == [("1201", "train", 0, "submitted")]
    cluster.run()
    scheduler.look(START + 2 * MINUTE)
    assert rows(scheduler)[2:] == [("1202", "build", 0, "submitted")]


def test_a_training_that_failed_is_made_up_for_by_the_next_build(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan(cron="0 * * * *", train={}, retries=0))
    scheduler.look(START)
    scheduler.look(START + HOUR)
    cluster.run()
    scheduler.look(START + HOUR)
    cluster.run(FAILED, BROKEN)
    scheduler.look(START + HOUR)
    assert len(entries(scheduler)) == 2  # no try is left
    scheduler.look(START + 2 * HOUR)
    cluster.run()
    scheduler.look(START + 2 * HOUR)
    assert [row[1:] for row in rows(scheduler)[2:]] == [
        ("build", 0, "succeeded"),
        ("train", 0, "submitted"),
    ]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (FAILED, Outcome(exit_status=1, result={"version": "v1"})),
        (SUCCEEDED, Outcome(exit_status=0, result={})),
        (SUCCEEDED, Outcome(exit_status=0)),
        (SUCCEEDED, Outcome(exit_status=0, result={"version": ""})),
    ],
)
def test_without_a_version_nothing_is_trained(
    tmp_path: Path, status: str, outcome: Outcome
) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan(cron="0 * * * *", train={}, retries=0))
    scheduler.look(START)
    scheduler.look(START + HOUR)
    cluster.run(status, outcome)
    scheduler.look(START + HOUR)
    assert len(entries(scheduler)) == 1


def test_a_training_is_not_trained_on(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan(cron="0 * * * *", train={}))
    scheduler.look(START)
    scheduler.look(START + HOUR)
    cluster.run()
    scheduler.look(START + HOUR)
    cluster.run(outcome=Outcome(exit_status=0, result={"version": "of something else"}))
    scheduler.look(START + HOUR)
    assert [row[1] for row in rows(scheduler)] == ["build", "train"]


def test_nothing_is_trained_for_a_schedule_that_is_gone_or_never_trains(tmp_path: Path) -> None:
    for number, changed in enumerate((plan("other"), plan("every"))):
        folder = tmp_path / str(number)
        scheduler, cluster = scheduler_at(folder, plan(cron="0 * * * *", train={}))
        scheduler.look(START)
        scheduler.look(START + HOUR)
        cluster.run()
        Scheduler([changed], scheduler.ledger, cluster, scheduler.root).look(START + HOUR)
        assert "train" not in [row[1] for row in rows(scheduler)]


# ---- what became of a job


def test_a_scheduler_killed_around_submitting_loses_and_doubles_nothing(tmp_path: Path) -> None:
    for number, how in enumerate(("fail_before", "fail_after")):
        scheduler, cluster = scheduler_at(tmp_path / str(number))
        scheduler.look(START)
        setattr(cluster, how, True)
        with pytest.raises(KilledError):
            scheduler.look(START + MINUTE)
        setattr(cluster, how, False)
        again, _ = scheduler_at(tmp_path / str(number))
        Scheduler(again.schedules, again.ledger, cluster, again.root).look(START + MINUTE)
        cluster.run()
        assert len(cluster.runs) == 1
        assert rows(scheduler) == [("1201", "build", 0, "succeeded")]


def test_a_lost_head_runs_nothing_twice(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan(cron="1 * * * *"))
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.lose_head()  # before the job began
    scheduler.look(START + MINUTE)
    assert len(cluster.known) == 1
    (submitted,) = cluster.known.values()
    assert scheduler.ledger.start(submitted)
    cluster.lose_head()  # while it ran
    scheduler.look(START + MINUTE)
    assert rows(scheduler) == [("1201", "build", 0, "lost")]
    retry_at = entries(scheduler)[-1].retry_at()
    assert retry_at is not None
    scheduler.look(later(retry_at))
    assert rows(scheduler)[-1] == ("1201", "build", 1, "submitted")
    cluster.run()
    cluster.lose_head()  # after it ended: the ledger knows
    scheduler.look(later(retry_at))
    assert rows(scheduler)[1] == ("1201", "build", 1, "succeeded")
    assert len(cluster.runs) == 1


@pytest.mark.parametrize(
    ("lost", "status", "error"),
    [(False, FAILED, "the job was killed"), (True, LOST, "the cluster it ran on is lost")],
)
def test_a_job_that_could_not_tell_how_it_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lost: bool, status: str, error: str
) -> None:
    scheduler, cluster = scheduler_at(tmp_path)
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    (submitted,) = cluster.known.values()
    scheduler.ledger.start(submitted)
    scheduler.look(START + MINUTE)
    assert rows(scheduler) == [("1201", "build", 0, "running")]
    if lost:
        cluster.lose_head()
    else:
        cluster.end_without_a_word()
    scheduler.look(START + MINUTE)
    (entry,) = entries(scheduler)
    assert entry.ended is not None
    assert (entry.ended.status, entry.ended.outcome) == (status, Outcome(error=error))
    assert caplog.messages == [f"{submitted.job_id}: {error}"]


def test_a_job_that_begins_while_it_is_asked_after_is_not_lost(tmp_path: Path) -> None:
    """The cluster did not know it yet; another scheduler submitted it; it began before the ledger
    was read again."""
    scheduler, cluster = scheduler_at(tmp_path)
    scheduler.look(START)
    cluster.fail_before = True  # recorded, but not submitted
    with pytest.raises(KilledError):
        scheduler.look(START + MINUTE)
    cluster.fail_before = False
    (entry,) = entries(scheduler)

    class Slow(Cluster):
        def state(self, job_id: str) -> module.JobState:
            found = cluster.state(job_id)
            cluster.submit(entry.attempt)
            assert scheduler.ledger.start(entry.attempt)
            return found

    slow = Slow(scheduler.ledger)
    Scheduler(scheduler.schedules, scheduler.ledger, slow, scheduler.root).look(START + MINUTE)
    assert rows(scheduler) == [("1201", "build", 0, "running")]
    scheduler.look(START + MINUTE)
    assert rows(scheduler) == [("1201", "build", 0, "running")]
    cluster.lose_head()
    scheduler.look(START + MINUTE)
    assert rows(scheduler) == [("1201", "build", 0, "lost")]


def test_a_job_that_was_killed_before_it_began_is_a_failure(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path)
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.end_without_a_word()
    scheduler.look(START + MINUTE)
    assert rows(scheduler) == [("1201", "build", 0, "failed")]


def test_a_look_that_finds_a_job_ended_goes_on_with_what_is_next(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan(retries=0))
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.end_without_a_word()
    scheduler.look(START + 2 * MINUTE)
    assert rows(scheduler) == [("1201", "build", 0, "failed"), ("1202", "build", 0, "submitted")]
    cluster.end_without_a_word()
    scheduler.look(START + 3 * MINUTE)
    assert rows(scheduler)[1:] == [
        ("1202", "build", 0, "failed"),
        ("1203", "build", 0, "submitted"),
    ]


def test_a_job_that_ends_while_it_is_asked_after_has_the_last_word(tmp_path: Path) -> None:
    """The cluster may answer that a job is over just after the ledger was read."""
    scheduler, cluster = scheduler_at(tmp_path)
    scheduler.look(START)
    scheduler.look(START + MINUTE)

    class Slow(Cluster):
        def state(self, job_id: str) -> module.JobState:
            cluster.run()
            return module.JobState.OVER

    slow = Slow(scheduler.ledger)
    Scheduler(scheduler.schedules, scheduler.ledger, slow, scheduler.root).look(START + MINUTE)
    assert rows(scheduler) == [("1201", "build", 0, "succeeded")]


def test_a_job_whose_end_another_scheduler_recorded_first_is_not_reported_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler, cluster = scheduler_at(tmp_path)
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    (submitted,) = cluster.known.values()
    cluster.end_without_a_word()
    entry = scheduler.ledger.entry

    def before(corpus: str, number: int) -> Entry:
        found = entry(corpus, number)
        Ledger(str(tmp_path)).end(submitted, LOST, Outcome(error="theirs"))
        return found

    scheduler.ledger.entry = before  # type: ignore[method-assign]
    scheduler.look(START + MINUTE)
    assert rows(scheduler) == [("1201", "build", 0, "lost")]
    assert caplog.messages == []


def test_what_is_submitted_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "unreasonable")
    scheduler, cluster = scheduler_at(tmp_path)
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.lose_head()
    scheduler.look(START + MINUTE)
    job = "every-20260501T120100Z-build-0-pystdlib-1"
    assert caplog.messages == [
        f"submitting {job}: jobs/build_corpus.py --recipe pystdlib --root {tmp_path}",
        f"{job} was not submitted, or its cluster is lost: submitting it again",
    ]


# ---- by hand


def test_a_schedule_is_run_now(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan("a"), plan("b", cron="0 3 * * *"))
    first = scheduler.run_now("b", START)
    assert (first.number, first.schedule, first.stage) == (1, "b", "build")
    assert (first.tried, first.instant) == (0, "20260501T120030Z")
    assert cluster.known == {first.job_id: first}
    cluster.run()
    assert scheduler.run_now("b", START + MINUTE).number == 2


def test_a_corpus_that_is_busy_is_not_run_now(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan("a"), plan("other", recipe="names"))
    for minute in range(3):  # so that the last is neither the first nor the second
        busy = scheduler.run_now("a", START + minute * MINUTE)
        if minute < 2:
            cluster.run()
    with pytest.raises(InputError) as refused:
        scheduler.run_now("a", START + 3 * MINUTE)
    assert str(refused.value) == f"corpus pystdlib is busy: {busy.job_id} is submitted."
    scheduler.ledger.start(busy)
    with pytest.raises(InputError, match=f"{busy.job_id} is running"):
        scheduler.run_now("a", START + 2 * MINUTE)
    scheduler.run_now("other", START + 2 * MINUTE)
    assert len(cluster.known) == 4


def test_a_corpus_that_another_has_just_taken_is_not_run_now(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path)
    history = scheduler.ledger.history

    def before(corpus: str) -> History:
        found = history(corpus)
        Ledger(str(tmp_path)).append(attempt(corpus=corpus, by="another"))
        return found

    scheduler.ledger.history = before  # type: ignore[method-assign]
    with pytest.raises(InputError) as refused:
        scheduler.run_now("every", START)
    assert str(refused.value) == (
        "corpus pystdlib has just been taken by another scheduler; see --list."
    )
    assert cluster.known == {}


def test_a_schedule_that_is_not_there_is_refused(tmp_path: Path) -> None:
    scheduler, _ = scheduler_at(tmp_path, plan("a"), plan("b"))
    assert scheduler.named("b").name == "b"
    with pytest.raises(InputError) as refused:
        scheduler.run_now("nobody", START)
    assert str(refused.value) == "no schedule 'nobody'; there are a, b."


def test_a_scheduler_keeps_its_settings(tmp_path: Path) -> None:
    scheduler, _ = scheduler_at(tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scheduler.root = "/elsewhere"  # type: ignore[misc]


# ---- all of it at once


@given(
    st.lists(
        st.sampled_from(["look", "look2", "run", "fail", "kill", "kill2", "lose", "die", "wait"]),
        max_size=40,
    )
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_happens_no_attempt_runs_twice_and_none_overlap(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    now = START
    one, cluster = scheduler_at(folder, plan(retry_after_s=0.0))
    two = Scheduler(one.schedules, Ledger(str(folder)), cluster, one.root)
    one.look(now)
    for step in steps:
        now += MINUTE
        if step == "look":
            one.look(now)
        elif step == "look2":
            two.look(now)
        elif step == "run":
            cluster.run(SUCCEEDED, BUILT)
        elif step == "fail":
            cluster.run(FAILED, BROKEN)
        elif step in ("kill", "kill2"):
            cluster.fail_before = step == "kill"
            cluster.fail_after = step == "kill2"
            with contextlib.suppress(KilledError):
                two.look(now)
            cluster.fail_before = False
            cluster.fail_after = False
        elif step == "lose":
            cluster.lose_head()
        elif step == "die":
            cluster.end_without_a_word()
        found = one.ledger.entries("pystdlib")
        assert [entry.attempt.number for entry in found] == list(range(1, len(found) + 1))
        assert all(entry.ended for entry in found[:-1])  # at most one is under way
        attempts = [entry.attempt for entry in found]
        assert len({(each.instant, each.stage, each.tried) for each in attempts}) == len(found)
    assert len(cluster.runs) == len(set(cluster.runs))


@given(
    st.lists(
        st.sampled_from(["look", "look2", "cold", "run", "fail", "lose", "wrong clock"]),
        min_size=30,
        max_size=60,
    )
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_folding_loses_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    now = START
    one, cluster = scheduler_at(
        folder, plan("a", retry_after_s=0.0), plan("b", cron="*/3 * * * *", train={})
    )
    two = Scheduler(one.schedules, Ledger(str(folder)), cluster, one.root)
    one.look(now)
    submitted: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_module, "KEPT", 2)
        for step in steps:
            now += MINUTE
            if step == "look":
                one.look(now)
            elif step == "look2":
                two.look(now)
            elif step == "cold":  # as --once does
                Scheduler(one.schedules, Ledger(str(folder)), cluster, one.root).look(now)
            elif step == "wrong clock":
                one.look(now.replace(year=2031))
            elif step in ("run", "fail"):
                status = SUCCEEDED if step == "run" else FAILED
                cluster.run(status, BUILT if step == "run" else BROKEN)
            else:
                cluster.lose_head()
            submitted += [job for job in cluster.known if job not in submitted]
            histories = [
                ledger.history("pystdlib")
                for ledger in (one.ledger, two.ledger, Ledger(str(folder)))
            ]
            assert histories[0] == histories[1] == histories[2]
            history = histories[0]
            numbers = [entry.attempt.number for entry in history.entries]
            assert numbers == list(range(history.next_number - len(numbers), history.next_number))
            folded = [
                count
                for summary in history.summaries
                for outcomes in summary.counts.values()
                for count in outcomes.values()
            ]
            assert sum(folded) + len(numbers) == history.next_number - 1
            assert all(entry.ended for entry in history.entries[:-1])
    assert len(cluster.runs) == len(set(cluster.runs))
    # A number is submitted once, under one id.
    assert len({job.rpartition("-")[2] for job in submitted}) == len(submitted)
