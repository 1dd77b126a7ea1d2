"""A lease has one holder at a time; a dead one loses it, a living one does not."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline import lease, storage
from pipeline.errors import InputError, StoreError
from pipeline.lease import ENDS_AFTER_S, RENEW_S, Lease, check_free, held


class Clock:
    """Time that passes when somebody sleeps; `meanwhile` happens in it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.meanwhile: Any = None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.meanwhile:
            self.meanwhile()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(folder: Path, clock: Clock, **changes: Any) -> Lease:
    return Lease(str(folder), "run r", now=clock, sleep=clock.sleep, **changes)


def elsewhere(folder: Path, clock: Clock) -> Lease:
    """A lease that a process of another machine holds."""
    holder = made(folder, clock)
    holder.machine = "another"
    holder.take()
    return holder


def test_a_second_is_refused_while_the_first_is_alive(tmp_path: Path, clock: Clock) -> None:
    first = made(tmp_path, clock)
    first.take()
    with pytest.raises(InputError, match=r"run r is under way: .* renewed 0 s ago") as caught:
        made(tmp_path, clock).take()
    assert f"process {first.pid}" in str(caught.value)
    # However long ago: its process is seen to live.
    clock.now += 10 * ENDS_AFTER_S
    first.renew()
    with pytest.raises(InputError, match="is under way"):
        made(tmp_path, clock).take()


def test_what_is_given_back_can_be_taken(tmp_path: Path, clock: Clock) -> None:
    for _ in range(2):
        holder = made(tmp_path, clock)
        holder.take()
        holder.release()
    assert storage.names(str(tmp_path)) == ["000001.json", "000002.json"]
    check_free(str(tmp_path), "run r")


def test_a_process_that_is_gone_loses_it_at_once(tmp_path: Path, clock: Clock) -> None:
    code = "import sys; from pipeline.lease import Lease; Lease(sys.argv[1], 'run r').take()"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    check_free(str(tmp_path), "run r")
    made(tmp_path, clock).take()


def test_a_pid_that_another_process_has_now_is_no_holder(tmp_path: Path, clock: Clock) -> None:
    holder = made(tmp_path, clock)
    holder.born = "long ago"
    holder.take()
    made(tmp_path, clock).take()


def test_who_is_silent_elsewhere_loses_it_when_it_stays_silent(
    tmp_path: Path, clock: Clock
) -> None:
    holder = elsewhere(tmp_path, clock)
    clock.now += ENDS_AFTER_S - 1
    with pytest.raises(InputError, match="is under way"):
        made(tmp_path, clock).take()
    clock.now += 2
    began = clock.now
    made(tmp_path, clock).take()
    assert clock.now - began > RENEW_S  # it was watched for a sign of life
    assert not holder.renew()
    assert holder.lost


def test_a_holder_whose_clock_is_behind_keeps_it(tmp_path: Path, clock: Clock) -> None:
    holder = elsewhere(tmp_path, clock)
    clock.now += 10 * ENDS_AFTER_S
    slow = Clock()
    holder.now = slow

    def meanwhile() -> None:
        slow.now += RENEW_S
        holder.renew()

    clock.meanwhile = meanwhile
    with pytest.raises(InputError, match="is under way"):
        made(tmp_path, clock).take()
    assert not holder.lost


def test_of_two_that_find_it_free_one_gets_it(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = storage.create
    rival = made(tmp_path, clock)

    def create(url: str, data: bytes) -> bool:
        monkeypatch.setattr(storage, "create", real)
        rival.take()
        return real(url, data)

    monkeypatch.setattr(storage, "create", create)
    with pytest.raises(InputError, match="is under way"):
        made(tmp_path, clock).take()
    assert rival.renew()


def test_a_store_that_is_away_takes_it_from_nobody(
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    holder = made(tmp_path, clock)
    holder.take()

    def away(url: str, data: bytes) -> None:
        raise StoreError("cannot reach s3://bucket")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "write_bytes", away)
        assert holder.renew()
    assert "run r could not be renewed: cannot reach s3://bucket" in caplog.text
    assert holder.renew()


def test_a_note_that_nobody_wrote_is_refused_by_name(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "000001.json").write_text("[]")
    with pytest.raises(InputError, match=r"000001\.json is no lease"):
        made(tmp_path, clock).take()


def test_a_block_holds_it_renews_it_and_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = threading.Event()
    real = Lease.renew

    def renew(self: Lease) -> bool:
        renewed.set()
        return real(self)

    monkeypatch.setattr(lease, "RENEW_S", 0.01)
    monkeypatch.setattr(Lease, "renew", renew)
    with held(str(tmp_path), "run r", lambda: None) as holder:
        assert renewed.wait(30)
        with pytest.raises(InputError, match="is under way"):
            check_free(str(tmp_path), "run r")
        assert not holder.lost
    check_free(str(tmp_path), "run r")
    note = json.loads((tmp_path / "000001.json").read_text())
    assert note["is_released"] is True


def test_who_lost_it_is_told_and_gives_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    monkeypatch.setattr(lease, "RENEW_S", 0.01)
    with held(str(tmp_path), "run r", told.set) as holder:
        note = json.loads((tmp_path / "000001.json").read_text())
        (tmp_path / "000002.json").write_text(json.dumps(note))
        assert told.wait(30)
        assert holder.lost
        with pytest.raises(InputError, match="run r was taken over"):
            holder.check()
    assert json.loads((tmp_path / "000002.json").read_text()) == note
