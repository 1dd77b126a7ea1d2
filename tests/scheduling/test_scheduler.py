"""Ledger and scheduler with a clock and a cluster of the test's own: crashes anywhere, two schedulers, lost heads."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import storage
from pipeline.errors import InputError
from pipeline.scheduling.config import Schedule, load_schedules
from pipeline.scheduling.ledger import FAILED, SUCCEEDED, Attempt, Entry, Ledger
from pipeline.scheduling.scheduler import ENDED, RUNNING, Scheduler, overview

START = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BUILT = {"result": {"version": "v1", "built": True}}


class KilledError(Exception):
    """The scheduler dies here."""


@dataclass
class Cluster:
    """A cluster that runs nothing by itself: the test says what becomes of a job."""

    ledger: Ledger
    known: dict[str, Attempt] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    runs: list[str] = field(default_factory=list)  # jobs that did their work
    fail_before: bool = False
    fail_after: bool = False

    def submit(self, attempt: Attempt) -> None:
        if self.fail_before:
            raise KilledError
        self.known.setdefault(attempt.job_id, attempt)
        if self.fail_after:
            raise KilledError

    def status(self, job_id: str) -> str | None:
        return None if job_id not in self.known else ENDED if job_id in self.ended else RUNNING

    def run(self, status: str = SUCCEEDED, **about: object) -> None:
        """Every known job that has not ended runs: it starts, if it may, and ends."""
        for job_id, attempt in self.known.items():
            if job_id not in self.ended:
                self.ended.add(job_id)
                if self.ledger.start(attempt, {}):
                    self.runs.append(job_id)
                    self.ledger.end(attempt, status, about or BUILT)

    def lose_head(self) -> None:
        self.known.clear()
        self.ended.clear()


def made(tmp_path: Path, *schedules: Schedule) -> tuple[Scheduler, Cluster]:
    ledger = Ledger(str(tmp_path))
    cluster = Cluster(ledger)
    return Scheduler(list(schedules) or [plan()], ledger, cluster, str(tmp_path)), cluster


def plan(name: str = "every", **changes: object) -> Schedule:
    return Schedule(**{"name": name, "cron": "* * * * *", "recipe": "pystdlib", "retries": 2, **changes})  # type: ignore[arg-type]


def entries(scheduler: Scheduler) -> list[Entry]:
    return scheduler.ledger.entries("pystdlib")


def told(scheduler: Scheduler) -> list[tuple[str, str, int, str]]:
    return [(e.attempt.instant[9:13], e.attempt.stage, e.attempt.tried, e.status) for e in entries(scheduler)]


def test_each_firing_is_built_once_and_never_two_at_a_time(tmp_path: Path) -> None:
    scheduler, cluster = made(tmp_path)
    scheduler.look(START)
    assert told(scheduler) == []  # nothing from before it was known
    scheduler.look(START + MINUTE)
    scheduler.look(START + MINUTE)
    assert told(scheduler) == [("1201", "build", 0, "submitted")]
    scheduler.look(START + 4 * MINUTE)
    assert len(entries(scheduler)) == 1  # it is still running
    cluster.run()
    scheduler.look(START + 4 * MINUTE)
    assert told(scheduler)[1:] == [("1204", "build", 0, "submitted")]  # of three missed firings, the last
    assert entries(scheduler)[0].attempt.job_id == "every-20260501T120100Z-build-0-pystdlib-1"


def test_a_failure_is_tried_again_with_backoff_and_then_given_up(tmp_path: Path) -> None:
    scheduler, cluster = made(tmp_path, plan(cron="0 13 * * *", retry_after_s=100))
    now = START + timedelta(hours=2)
    scheduler.look(START)
    scheduler.look(now)
    for tried, wait in ((0, 100), (1, 200), (2, None)):
        assert told(scheduler)[-1] == ("1300", "build", tried, "submitted")
        cluster.run(FAILED, error="disk full", result={})
        last = entries(scheduler)[-1]
        assert last.ended is not None
        assert last.retry_at() == (last.ended["time"] + wait if wait else None)
        if wait:
            scheduler.look(datetime.fromtimestamp(last.ended["time"] + wait - 1, UTC))
            assert len(entries(scheduler)) == tried + 1
            scheduler.look(datetime.fromtimestamp(last.ended["time"] + wait + 1, UTC))
    scheduler.look(now)
    assert len(entries(scheduler)) == 3
    (row,) = overview(scheduler.schedules, scheduler.ledger, now)
    assert (row["status"], row["tried"], row["error"], row["will_retry"]) == ("failed", 3, "disk full", False)


def test_a_new_version_is_trained_on_once(tmp_path: Path) -> None:
    scheduler, cluster = made(tmp_path, plan(cron="0 * * * *", train={"num_workers": 2}))
    scheduler.look(START)
    scheduler.look(START + timedelta(hours=1))
    cluster.run()
    scheduler.look(START + timedelta(hours=1))
    assert told(scheduler)[-1] == ("1300", "train", 0, "submitted")
    assert entries(scheduler)[-1].attempt.command[-4:] == ("--num_workers", "2", "--corpus", "pystdlib@v1")
    cluster.run()
    scheduler.look(START + timedelta(hours=2))
    cluster.run()  # the same version: its sources have not changed
    scheduler.look(START + timedelta(hours=2))
    assert [entry[1] for entry in told(scheduler)] == ["build", "train", "build"]


def test_a_scheduler_killed_around_submitting_loses_and_doubles_nothing(tmp_path: Path) -> None:
    for number, how in enumerate(("fail_before", "fail_after")):
        scheduler, cluster = made(tmp_path / str(number))
        scheduler.look(START)
        setattr(cluster, how, True)
        with pytest.raises(KilledError):
            scheduler.look(START + MINUTE)
        setattr(cluster, how, False)
        again, _ = made(tmp_path / str(number))
        Scheduler(again.schedules, again.ledger, cluster, again.root).look(START + MINUTE)
        cluster.run()
        assert len(cluster.runs) == 1
        assert told(scheduler) == [("1201", "build", 0, "succeeded")]


def test_a_lost_head_runs_nothing_twice(tmp_path: Path) -> None:
    scheduler, cluster = made(tmp_path)
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.lose_head()  # before the job began
    scheduler.look(START + MINUTE)
    assert len(cluster.known) == 1
    (attempt,) = cluster.known.values()
    assert scheduler.ledger.start(attempt, {})
    cluster.lose_head()  # while it ran
    scheduler.look(START + MINUTE)
    assert told(scheduler) == [("1201", "build", 0, "lost")]
    retry_at = entries(scheduler)[-1].retry_at()
    assert retry_at is not None
    later = datetime.fromtimestamp(retry_at + 1, UTC)
    scheduler.look(later)
    assert told(scheduler)[-1] == ("1201", "build", 1, "submitted")
    cluster.run()
    cluster.lose_head()  # after it ended: the ledger knows
    scheduler.look(later)
    assert told(scheduler)[1] == ("1201", "build", 1, "succeeded")
    assert len(cluster.runs) == 1


def test_a_job_that_was_killed_is_a_failure(tmp_path: Path) -> None:
    scheduler, cluster = made(tmp_path)
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.ended.update(cluster.known)  # without a word
    scheduler.look(START + MINUTE)
    assert told(scheduler) == [("1201", "build", 0, "failed")]


def test_schedules_of_one_corpus_take_turns(tmp_path: Path) -> None:
    scheduler, cluster = made(tmp_path, plan("a"), plan("b"), plan("other", recipe="names"))
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    assert [attempt.schedule for attempt in cluster.known.values()] == ["a", "other"]
    cluster.run()
    scheduler.look(START + MINUTE)
    assert [attempt.schedule for attempt in cluster.known.values()] == ["a", "other", "b"]


@given(st.lists(st.sampled_from(["look", "look2", "run", "fail", "kill", "kill2", "lose", "die", "wait"]), max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_no_attempt_runs_twice_and_none_overlap(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder, now = tmp_path_factory.mktemp("ledger"), START
    one, cluster = made(folder, plan(retry_after_s=0.0))
    two = Scheduler(one.schedules, Ledger(str(folder)), cluster, one.root)
    one.look(now)
    for step in steps:
        now += MINUTE
        if step in ("look", "look2"):
            (one if step == "look" else two).look(now)
        elif step in ("run", "fail"):
            cluster.run(SUCCEEDED if step == "run" else FAILED)
        elif step in ("kill", "kill2"):
            cluster.fail_before, cluster.fail_after = step == "kill", step == "kill2"
            with contextlib.suppress(KilledError):
                two.look(now)
            cluster.fail_before = cluster.fail_after = False
        elif step == "lose":
            cluster.lose_head()
        elif step == "die":
            cluster.ended.update(cluster.known)
        found = one.ledger.entries("pystdlib")
        assert [entry.attempt.number for entry in found] == list(range(1, len(found) + 1))
        assert all(entry.ended for entry in found[:-1])  # at most one is under way
        assert len({(e.attempt.instant, e.attempt.stage, e.attempt.tried) for e in found}) == len(found)
    assert len(cluster.runs) == len(set(cluster.runs))


def test_of_many_processes_that_take_a_number_one_gets_it(tmp_path: Path) -> None:
    code = f"""
        import sys, time
        from pipeline import storage
        while time.time() < float(sys.argv[1]):
            pass
        print(sum(storage.create({str(tmp_path)!r} + f"/{{n:03d}}", sys.argv[2].encode() * 1000) for n in range(200)))
    """
    import time

    command = [sys.executable, "-c", textwrap.dedent(code), str(time.time() + 3)]
    processes = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) for name in "abc"]
    taken = [int(process.communicate()[0]) for process in processes]
    assert sum(taken) == 200
    found = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(found) == 200
    assert [sum(text == name.encode() * 1000 for text in found) for name in "abc"] == taken


def test_what_is_created_twice_by_one_writer_is_its_own(tmp_path: Path) -> None:
    url = str(tmp_path / "x")
    assert storage.create(url, b"mine")
    assert storage.create(url, b"mine")
    assert not storage.create(url, b"theirs")
    assert (tmp_path / "x").read_bytes() == b"mine"


GOOD = "{name: a, cron: '0 3 * * *', recipe: pystdlib}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schedules: []", "has no list"),
        ("[", "is not YAML"),
        ("schedules: [{name: a, cron: '* * * * *'}]", "entry 1: a schedule needs name, cron and recipe"),
        (f"schedules: [{GOOD}, {GOOD}]", "schedule a is there more than once"),
        ("schedules: [{name: A B, cron: '* * * * *', recipe: pystdlib}]", "lower-case"),
        ("schedules: [{name: a, cron: 'x', recipe: pystdlib}]", "Give five fields"),
        ("schedules: [{name: a, cron: '* * * * *', recipe: nope}]", "nope"),
        ("schedules: [{name: a, cron: '* * * * *', recipe: pystdlib, hours: 3}]", "no setting hours"),
        ("schedules: [{name: a, cron: '* * * * *', recipe: pystdlib, retries: -1}]", "retries is -1"),
        ("schedules: [{name: a, cron: '* * * * *', recipe: pystdlib, timezone: Nowhere}]", "no time zone"),
    ],
)
def test_a_wrong_schedule_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "schedule.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_schedules(str(tmp_path / "schedule.yaml"))


def test_the_schedules_that_ship_are_right() -> None:
    schedules = load_schedules(str(Path(__file__).parents[2] / "cluster" / "schedule.yaml"))
    assert [schedule.corpus for schedule in schedules] == ["linux", "latex", "enwik8"]
    assert schedules[0].command("train", "/r", "linux@1")[:4] == ["jobs/train.py", "--recipe", "linux", "--root"]
