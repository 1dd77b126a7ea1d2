from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.scheduling.records import FAILED, SUCCEEDED
from pipeline.scheduling.scheduler import Scheduler
from pipeline.scheduling.watch import run_to_end, watch
from tests.scheduling.pretend import BROKEN, BUILT, START, Cluster, plan, scheduler_at


class StoppedError(Exception):
    """Ctrl-C, for a test."""


class Clock:
    """Time that passes only in sleep; after each sleep something happens."""

    def __init__(self, *events: Callable[[], object], start: datetime = START) -> None:
        self.time = start
        self.events = list(events)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)
        if not self.events:
            raise StoppedError
        self.events.pop(0)()


def nothing() -> None:
    """What happens while nothing happens."""


def stages(scheduler: Scheduler) -> list[tuple[str, str]]:
    entries = scheduler.ledger.entries("pystdlib")
    return [(entry.attempt.stage, entry.status) for entry in entries]


# ---- for good


def test_a_watch_looks_every_five_seconds_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "unreasonable")
    scheduler, _ = scheduler_at(tmp_path, plan("a"), plan("b", recipe="names"))
    clock = Clock(*[nothing] * 6)
    with pytest.raises(StoppedError):
        watch(scheduler, clock.now, clock.sleep)
    assert clock.slept == [5.0] * 7
    # 12:00:30 + 30 s: the look of 12:01:00 submits both.
    assert caplog.messages[0] == (
        "2 schedules; looking every 5s; Ctrl-C ends the scheduler, not its jobs"
    )
    assert [message.split()[0] for message in caplog.messages[1:]] == ["submitting"] * 2


def test_a_look_that_fails_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Away(Cluster):
        looks = 0

        def submit(self, attempt: object) -> None:
            self.looks += 1
            raise OSError(f"the cluster\n  is away {self.looks} {'x' * 500}")

    scheduler, _ = scheduler_at(tmp_path)
    away = Away(scheduler.ledger)
    broken = Scheduler(scheduler.schedules, scheduler.ledger, away, scheduler.root)
    clock = Clock(*[nothing] * 2, start=START)
    with pytest.raises(StoppedError):
        watch(broken, lambda: clock.now() + timedelta(minutes=len(clock.slept)), clock.sleep)
    assert clock.slept == [5.0] * 3
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.message[:40] for record in warnings] == [
        "looking again in 5s: the cluster is away",
        "looking again in 5s: the cluster is away",
    ]
    assert [len(record.message) for record in warnings] == [len("looking again in 5s: ") + 500] * 2


def test_ctrl_c_ends_a_watch(tmp_path: Path) -> None:
    scheduler, _ = scheduler_at(tmp_path)

    def interrupt() -> datetime:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(scheduler, interrupt, lambda seconds: None)


# ---- until one firing is over


def test_a_build_is_awaited(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan("a", cron="0 3 * * *"))
    clock = Clock(nothing, nothing, cluster.run)
    run_to_end(scheduler, "a", clock.now, clock.sleep)
    assert clock.slept == [1.0] * 3
    assert stages(scheduler) == [("build", SUCCEEDED)]
    (entry,) = scheduler.ledger.entries("pystdlib")
    assert entry.attempt.instant == "20260501T120030Z"


def test_a_training_is_awaited_too(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan("a", cron="0 3 * * *", train={}))
    clock = Clock(nothing, cluster.run, nothing, cluster.run)
    run_to_end(scheduler, "a", clock.now, clock.sleep)
    assert len(clock.slept) == 4
    assert stages(scheduler) == [("build", SUCCEEDED), ("train", SUCCEEDED)]


def test_retries_are_awaited_until_none_is_left(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(
        tmp_path, plan("a", cron="0 3 * * *", retries=1, retry_after_s=10.0)
    )
    # The ledger's clock is the real one: attempts end now.
    clock = Clock(
        lambda: cluster.run(FAILED, BROKEN),
        *[nothing] * 30,
        lambda: cluster.run(FAILED, BROKEN),
        start=datetime.now(UTC),
    )
    run_to_end(scheduler, "a", clock.now, clock.sleep)
    assert len(clock.slept) == 32
    assert stages(scheduler) == [("build", FAILED)] * 2


def test_a_retry_whose_place_a_later_firing_took_is_not_awaited(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan("a", retry_after_s=3600.0))
    # The ledger's clock is the real one: attempts end now.
    now = datetime.now(UTC).replace(second=40)
    scheduler.look(now)
    clock = Clock(lambda: cluster.run(FAILED, BROKEN), *[nothing] * 30, start=now)
    run_to_end(scheduler, "a", clock.now, clock.sleep)
    assert stages(scheduler) == [("build", FAILED), ("build", "submitted")]
    assert len(clock.slept) == 21  # the minute was full after 20


def test_another_firing_of_the_corpus_is_not_the_awaited_one(tmp_path: Path) -> None:
    """What ended before does not end the wait."""
    scheduler, cluster = scheduler_at(tmp_path, plan("a", cron="0 3 * * *"))
    scheduler.run_now("a", START - timedelta(hours=1))
    cluster.run(SUCCEEDED, BUILT)
    clock = Clock(nothing, nothing, cluster.run)
    run_to_end(scheduler, "a", clock.now, clock.sleep)
    assert len(clock.slept) == 3


def test_a_firing_behind_the_awaited_one_does_not_hold_up_the_wait(tmp_path: Path) -> None:
    """Another schedule of the corpus is due in the look that sees the awaited build's end."""
    late = START + timedelta(seconds=40)
    scheduler, cluster = scheduler_at(
        tmp_path, plan("a", cron="0 3 * * *"), plan("other", cron="* * * * *")
    )
    scheduler.look(START)  # since now `other` is known, and owes a build of 12:01:00
    clock = Clock(*[nothing] * 20, cluster.run, nothing, start=late - timedelta(seconds=30))
    run_to_end(scheduler, "a", clock.now, clock.sleep)
    assert stages(scheduler) == [("build", SUCCEEDED), ("build", "submitted")]
    assert len(clock.slept) == 21


def test_a_build_that_ends_behind_the_look_is_still_trained_on(tmp_path: Path) -> None:
    """Its end is recorded between a look, which saw it run, and the question whether it is over."""
    scheduler, cluster = scheduler_at(tmp_path, plan("a", cron="0 3 * * *", train={}))
    real = cluster.output
    asked: list[str] = []

    def ends_meanwhile(job_id: str) -> str:
        asked.append(job_id)
        cluster.run()
        return real(job_id)

    cluster.output = ends_meanwhile  # type: ignore[method-assign]
    clock = Clock(*[nothing] * 5)
    run_to_end(scheduler, "a", clock.now, clock.sleep)
    assert stages(scheduler) == [("build", SUCCEEDED), ("train", SUCCEEDED)]
    assert len(asked) == len(clock.slept)


def test_what_the_awaited_jobs_log_is_shown_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler, cluster = scheduler_at(tmp_path, plan("a", cron="0 3 * * *", train={}))

    def logs(text: str) -> Callable[[], None]:
        def write() -> None:
            newest = list(cluster.known)[-1]
            cluster.outputs[newest] = cluster.outputs.get(newest, "") + text

        return write

    def ends() -> None:
        logs("rest\nbuilt\n")()
        cluster.run()

    clock = Clock(nothing, logs("read c: 1 MB\nhalf a "), ends, logs("trained\n"), cluster.run)
    with caplog.at_level(logging.INFO, "unreasonable"):
        run_to_end(scheduler, "a", clock.now, clock.sleep)
    shown = [message for message in caplog.messages if not message.startswith("submitting")]
    assert shown == ["read c: 1 MB", "half a rest", "built", "trained"]


def test_a_person_who_waits_sees_what_is_wrong(tmp_path: Path) -> None:
    scheduler, cluster = scheduler_at(tmp_path)
    with pytest.raises(InputError, match="no schedule 'b'"):
        run_to_end(scheduler, "b")

    def away() -> None:
        cluster.lose_head()
        cluster.fail_before = True

    clock = Clock(away)
    with pytest.raises(Exception, match=r"^$") as failed:
        run_to_end(scheduler, "every", clock.now, clock.sleep)
    assert failed.typename == "KilledError"
