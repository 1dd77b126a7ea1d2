from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.scheduling import calendar
from pipeline.scheduling.calendar import (
    _next,
    instant,
    latest_firing,
    next_firing,
    stamp,
    utc_now,
)
from pipeline.scheduling.config import Schedule

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
]


def schedule(cron: str, zone: str = "UTC") -> Schedule:
    return Schedule(name="x", cron=cron, timezone=zone, recipe="pystdlib")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def firings(plan: Schedule, start: datetime, stop: datetime) -> list[datetime]:
    found = []
    moment = next_firing(plan, start)
    while moment and moment <= stop:
        found.append(moment)
        moment = next_firing(plan, moment)
    return found


instants = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)
crons = st.sampled_from(
    ["*/7 * * * *", "30 2 * * *", "0 2 * * sun", "15,45 1-3 * * *", "0 0 31 * *", "59 23 29 2 *"]
)


@given(crons, st.sampled_from(ZONES), instants)
@settings(max_examples=300, deadline=None)
def test_the_next_firing_is_later_and_at_a_local_time_that_the_expression_names(
    cron: str, zone: str, now: datetime
) -> None:
    found = next_firing(schedule(cron, zone), now)
    assert found is not None
    assert found > now
    local = found.astimezone(ZoneInfo(zone))
    minute, hour, *_ = cron.split()
    if minute.isdigit():
        # In a spring night the named time may not exist. The firing is then at what it became,
        # within the gap's length.
        named = local.replace(minute=int(minute), fold=0)
        exists = named.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(fold=0) == named
        assert local.minute == int(minute) or not exists
        if hour.isdigit() and local.hour != int(hour):
            wanted = local.replace(hour=int(hour), minute=int(minute), fold=0)
            assert wanted.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(fold=0) != wanted


@given(crons, st.sampled_from(ZONES), instants, st.integers(0, 400), st.integers(0, 100_000))
@settings(max_examples=120, deadline=None)
def test_the_latest_firing_is_the_last_of_those_missed(
    cron: str, zone: str, now: datetime, days: int, seconds: int
) -> None:
    plan = schedule(cron, zone)
    after = now - timedelta(days=days % 12, seconds=seconds)
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
        # APScheduler alone skips the day after clocks go forward.
        assert max(gaps) <= timedelta(hours=25)


@pytest.mark.parametrize(
    ("zone", "spring"),
    [
        ("Europe/Berlin", "2026-03-29"),
        ("America/New_York", "2026-03-08"),
        ("Australia/Lord_Howe", "2026-10-04"),
    ],
)
@pytest.mark.parametrize("minute", [0, 5])
def test_the_first_hour_of_the_day_is_never_missed(zone: str, spring: str, minute: int) -> None:
    """From every quarter of an hour around the night when clocks go forward, by looking at all."""
    first = at(spring) - timedelta(days=2)
    minutes = [first + timedelta(minutes=number) for number in range(7 * 24 * 60)]
    local = [moment.astimezone(ZoneInfo(zone)) for moment in minutes]
    named = [moment for moment, there in zip(minutes, local, strict=True)
             if (there.hour, there.minute) == (0, minute)]  # fmt: skip
    plan = schedule(f"{minute} 0 * * *", zone)
    for quarter in range(3 * 24 * 4):
        moment = first + timedelta(minutes=15 * quarter, seconds=37, microseconds=5)
        assert next_firing(plan, moment) == min(each for each in named if each > moment)


def test_the_nights_when_clocks_change_in_berlin() -> None:
    spring = firings(
        schedule("30 2 * * *", "Europe/Berlin"), at("2026-03-28T12:00"), at("2026-03-30T12:00")
    )
    # On the 29th 02:30 does not exist: it is 03:30 there.
    assert [stamp(moment) for moment in spring] == ["20260329T013000Z", "20260330T003000Z"]
    autumn = firings(
        schedule("30 2 * * *", "Europe/Berlin"), at("2026-10-24T12:00"), at("2026-10-26T12:00")
    )
    assert "20261026T013000Z" in [stamp(moment) for moment in autumn]
    assert {stamp(moment) for moment in autumn[:-1]} <= {"20261025T003000Z", "20261025T013000Z"}
    assert autumn[:-1]


def test_a_firing_is_found_between_two_instants_the_later_one_included() -> None:
    plan = schedule("0 3 * * *")
    three = at("2026-01-02T03:00")
    second = timedelta(seconds=1)
    microsecond = timedelta(microseconds=1)
    assert next_firing(plan, three - microsecond) == three
    assert next_firing(plan, three) == three + timedelta(days=1)
    for before in (second, timedelta(hours=3), timedelta(days=1)):
        assert latest_firing(plan, three - before, three) == three
        assert latest_firing(plan, three - before, three + second) == three
    assert latest_firing(plan, three, three) is None
    assert latest_firing(plan, three, three + second) is None
    assert latest_firing(plan, three - second, three - microsecond) is None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns"])
def test_firings_are_in_utc(zone: str) -> None:
    found = next_firing(schedule("0 3 * * *", zone), at("2026-01-01"))
    assert found is not None
    assert found.tzinfo is UTC
    assert found.astimezone(ZoneInfo(zone)).hour == 3
    assert utc_now().tzinfo is UTC


def test_a_long_absence_is_caught_up_once() -> None:
    long_ago, now = at("2016-01-01"), at("2026-01-01T00:00:30")
    assert latest_firing(schedule("* * * * *"), long_ago, now) == at("2026-01-01")
    assert latest_firing(schedule("0 0 29 2 *"), at("2025-01-01"), now) is None
    assert next_firing(schedule("0 0 31 2 *"), at("2026-01-01")) is None


def test_nothing_older_than_400_days_is_caught_up() -> None:
    leap_day = at("2024-02-29")
    plan = schedule("0 0 29 2 *")
    long_ago = at("2016-01-01")
    days = timedelta(days=400)
    assert latest_firing(plan, long_ago, leap_day + days - timedelta(seconds=1)) == leap_day
    assert latest_firing(plan, long_ago, leap_day + days) is None


@pytest.mark.parametrize(
    ("cron", "steps"),
    [
        # Every firing of the window, and the one after it that ends the search.
        ("* * * * *", 120 + 1),  # 2 hours
        ("0 0-21/3 * * *", 1 + 16 + 1),  # 2 hours without a firing, then 2 days
        ("0 12 21,22 * *", 1 + 1 + 3 + 1),  # the same, then 40 days: from 22 November on
        ("15 0 2 2 *", 1 + 1 + 1 + 1 + 1),  # the same, then 400 days
    ],
)
def test_a_long_absence_is_caught_up_in_few_steps(
    monkeypatch: pytest.MonkeyPatch, cron: str, steps: int
) -> None:
    asked = []

    def counted(fires: Any, after: datetime) -> datetime | None:
        asked.append(after)
        return _next(fires, after)

    monkeypatch.setattr(calendar, "_next", counted)
    assert latest_firing(schedule(cron), at("2016-01-01"), at("2026-01-01T02:30:30"))
    assert len(asked) == steps


@given(instants)
def test_a_stamp_is_an_instant(moment: datetime) -> None:
    assert instant(stamp(moment)) == moment.replace(microsecond=0)
    assert instant(stamp(moment)).tzinfo is UTC


def test_a_stamp_is_in_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    summer = datetime(2026, 7, 5, 3, 4, 9, 999_999, tzinfo=ZoneInfo("Europe/Berlin"))
    assert stamp(summer) == "20260705T010409Z"
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert stamp(summer) == "20260705T010409Z"
    finally:
        monkeypatch.undo()
        time.tzset()


FIELDS = "Give five fields: 0 3 * * sun."


@pytest.mark.parametrize(
    ("cron", "zone", "message"),
    [
        (
            "* * * *",
            "UTC",
            f"schedule x: cron '* * * *': Wrong number of fields; got 4, expected 5. {FIELDS}",
        ),
        (
            "* * * * *",
            "Mars/Olympus",
            "schedule x: no time zone 'Mars/Olympus'; give one such as Europe/Berlin.",
        ),
        (
            "* * * * *",
            "../up",
            "schedule x: no time zone '../up'; give one such as Europe/Berlin.",
        ),
        (
            "* * * * *",
            "",
            "schedule x: no time zone ''; give one such as Europe/Berlin.",
        ),
    ],
)
def test_what_is_no_time_is_refused(cron: str, zone: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        next_firing(schedule(cron, zone), at("2026-01-01"))
    assert str(refused.value) == message


def test_a_number_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"^schedule x: cron '61 \* \* \* \*': .*61.*five fields"):
        next_firing(schedule("61 * * * *"), at("2026-01-01"))


def test_a_cron_that_yaml_read_as_a_number_is_refused_too() -> None:
    with pytest.raises(InputError, match="schedule x: cron is 5; it must be text"):
        next_firing(schedule(5), at("2026-01-01"))  # type: ignore[arg-type]
