from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.scheduling.calendar import instant, latest_firing, next_firing, stamp
from pipeline.scheduling.config import Schedule

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns"]


def schedule(cron: str, zone: str = "UTC") -> Schedule:
    return Schedule(name="x", cron=cron, timezone=zone, recipe="pystdlib")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def firings(plan: Schedule, start: datetime, stop: datetime) -> list[datetime]:
    found, moment = [], next_firing(plan, start)
    while moment and moment <= stop:
        found.append(moment)
        moment = next_firing(plan, moment)
    return found


instants = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
crons = st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 2 * * sun", "15,45 1-3 * * *", "0 0 31 * *", "59 23 29 2 *"])


@given(crons, st.sampled_from(ZONES), instants)
@settings(max_examples=300, deadline=None)
def test_the_next_firing_is_later_and_at_a_local_time_that_the_expression_names(cron: str, zone: str, now: datetime) -> None:
    found = next_firing(schedule(cron, zone), now)
    assert found is not None
    assert found > now
    local = found.astimezone(ZoneInfo(zone))
    minute, hour, *_ = cron.split()
    if minute.isdigit():
        # In a spring night the named time may not exist: the firing is then at what it became, within the gap's length.
        named = local.replace(minute=int(minute), fold=0)
        exists = named.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(fold=0) == named
        assert local.minute == int(minute) or not exists
        if hour.isdigit() and local.hour != int(hour):
            wanted = local.replace(hour=int(hour), minute=int(minute), fold=0)
            assert wanted.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(fold=0) != wanted


@given(crons, st.sampled_from(ZONES), instants, st.integers(0, 400), st.integers(0, 100_000))
@settings(max_examples=120, deadline=None)
def test_the_latest_firing_is_the_last_of_those_missed(cron: str, zone: str, now: datetime, days: int, seconds: int) -> None:
    plan, after = schedule(cron, zone), now - timedelta(days=days % 12, seconds=seconds)
    missed = firings(plan, after, now)
    assert latest_firing(plan, after, now) == (missed[-1] if missed else None)


@pytest.mark.parametrize("zone", ZONES)
def test_a_daily_schedule_misses_no_day_whatever_the_clocks_do(zone: str) -> None:
    for hour in ("2", "1", "0"):
        found = firings(schedule(f"30 {hour} * * *", zone), at("2026-01-01"), at("2027-01-01"))
        days = [moment.astimezone(ZoneInfo(zone)).date() for moment in found]
        assert len(set(days)) >= 364
        assert len(found) - len(set(days)) <= 1  # the night with an hour twice may fire twice
        gaps = [later - earlier for earlier, later in pairwise(found)]
        assert max(gaps) <= timedelta(hours=25)  # APScheduler alone skips the day after clocks go forward


def test_the_nights_when_clocks_change_in_berlin() -> None:
    spring = firings(schedule("30 2 * * *", "Europe/Berlin"), at("2026-03-28T12:00"), at("2026-03-30T12:00"))
    assert [stamp(moment) for moment in spring] == ["20260329T013000Z", "20260330T003000Z"]  # 02:30 does not exist: 03:30
    autumn = firings(schedule("30 2 * * *", "Europe/Berlin"), at("2026-10-24T12:00"), at("2026-10-26T12:00"))
    assert "20261026T013000Z" in [stamp(moment) for moment in autumn]
    assert {stamp(moment) for moment in autumn[:-1]} <= {"20261025T003000Z", "20261025T013000Z"}
    assert autumn[:-1]


def test_a_long_absence_is_caught_up_once_and_fast() -> None:
    assert latest_firing(schedule("* * * * *"), at("2016-01-01"), at("2026-01-01T00:00:30")) == at("2026-01-01")
    assert latest_firing(schedule("0 0 29 2 *"), at("2025-01-01"), at("2026-01-01")) is None
    assert next_firing(schedule("0 0 31 2 *"), at("2026-01-01")) is None


@given(instants)
def test_a_stamp_is_an_instant(moment: datetime) -> None:
    assert instant(stamp(moment)) == moment.replace(microsecond=0)


@pytest.mark.parametrize(
    ("cron", "zone", "message"),
    [("* * * *", "UTC", "Give five fields"), ("61 * * * *", "UTC", "cron '61"), ("* * * * *", "Mars/Olympus", "no time zone")],
)
def test_what_is_no_time_is_refused(cron: str, zone: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        next_firing(schedule(cron, zone), at("2026-01-01"))
