from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.scheduling.calendar import (
    instant,
    latest_firing,
    next_firing,
    stamp,
    trigger,
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
    text = f"{text}-01" if len(text) == 7 else text
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def firings(plan: Schedule, start: datetime, stop: datetime) -> list[datetime]:
    found = []
    moment = next_firing(plan, start)
    while moment and moment <= stop:
        found.append(moment)
        moment = next_firing(plan, moment)
    return found


def stamps(plan: Schedule, start: datetime, stop: datetime) -> list[str]:
    return [stamp(moment) for moment in firings(plan, start, stop)]


instants = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)
crons = st.sampled_from(
    ["*/7 * * * *", "30 2 * * *", "0 2 * * sun", "15,45 1-3 * * *", "0 0 31 * *", "59 23 29 2 *"]
)


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
        assert len(set(days)) == len(found) == 365
        gaps = [later - earlier for earlier, later in pairwise(found)]
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
    spring = at("2026-03-28T12:00"), at("2026-03-30T12:00")
    autumn = at("2026-10-24T12:00"), at("2026-10-26T12:00")
    daily = schedule("30 2 * * *", "Europe/Berlin")
    # On 29 March 02:30 does not exist: it is made up for at 03:00, when the clocks have changed.
    assert stamps(daily, *spring) == ["20260329T010000Z", "20260330T003000Z"]
    # On 25 October 02:30 comes twice: the first one counts.
    assert stamps(daily, *autumn) == ["20261025T003000Z", "20261026T013000Z"]
    often = schedule("30 */2 * * *", "Europe/Berlin")
    # What fires by the clock on the wall loses the hour that is skipped...
    assert stamps(often, at("2026-03-28T23:00"), at("2026-03-29T03:00")) == [
        "20260328T233000Z",
        "20260329T023000Z",
    ]
    # ...and has the hour that is repeated twice.
    assert stamps(often, at("2026-10-24T23:00"), at("2026-10-25T03:00")) == [
        "20261025T003000Z",
        "20261025T013000Z",
    ]


@pytest.mark.parametrize(
    ("cron", "named"),
    [
        ("0 3 * * 0", {6}),
        ("0 3 * * 7", {6}),
        ("0 3 * * sun", {6}),
        ("0 3 * * 1-5", {0, 1, 2, 3, 4}),
        ("0 3 * * mon-fri", {0, 1, 2, 3, 4}),
        ("0 3 * * 0-2", {6, 0, 1}),
        ("0 3 * * 5-7", {4, 5, 6}),
        ("0 3 * * */2", {6, 1, 3, 5}),
    ],
)
def test_days_of_the_week_are_crontabs(cron: str, named: set[int]) -> None:
    found = firings(schedule(cron), at("2026-01-01"), at("2026-01-29"))
    assert {moment.weekday() for moment in found} == named
    assert len(found) == 4 * len(named)


def test_either_day_counts_when_both_are_given() -> None:
    days = [
        moment.day for moment in firings(schedule("0 3 1,15 * 1"), at("2026-03"), at("2026-04"))
    ]
    assert days == [1, 2, 9, 15, 16, 23, 30]
    # A field that begins with a star restricts the other: the first week's Monday.
    odd = [moment.day for moment in firings(schedule("0 3 */2 * 1"), at("2026-03"), at("2026-04"))]
    assert odd == [9, 23]


@pytest.mark.parametrize("weeks", [1, 5, 9])
@pytest.mark.parametrize(
    ("cron", "firing"),
    [
        ("30 0 1 * *", "2026-03-31T22:30"),  # monthly, in the first hour after clocks went forward
        ("30 0 1 * *", "2026-10-31T23:30"),
        ("0 0 * * 1", "2026-03-29T22:00"),  # weekly, the first midnight of summer
        ("0 0 * * 1", "2026-10-25T23:00"),
        ("30 0 29 3 *", "2026-03-28T23:30"),
    ],
)
def test_no_firing_is_lost_by_a_scheduler_that_was_away(cron: str, firing: str, weeks: int) -> None:
    plan = schedule(cron, "Europe/Berlin")
    for late in (timedelta(0), timedelta(hours=30), timedelta(days=6)):
        now = at(firing) + late
        assert latest_firing(plan, now - timedelta(weeks=weeks), now) == at(firing)


# ---- against brute force: every minute of some days around each change of the clocks

CHANGES = {
    "Europe/Berlin": ["2026-03-29", "2026-10-25"],
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "America/St_Johns": ["2026-03-08", "2011-11-06"],  # at one minute past midnight in 2011
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],  # by half an hour
    "Africa/Cairo": ["2026-04-24", "2026-10-30"],  # at midnight
    "America/Havana": ["2026-03-08", "2026-11-01"],
    "America/Santiago": ["2026-04-05", "2026-09-06"],
    "Antarctica/Troll": ["2026-03-29", "2026-10-25"],  # by two hours
    "Pacific/Apia": ["2011-12-30", "2012-04-01"],  # a day that never was
    "Asia/Kathmandu": ["2026-03-29"],
}
EXPRESSIONS = [
    "* * * * *", "*/7 * * * *", "0 * * * *", "30 * * * *", "15 */3 * * *", "* 1-3 * * *",
    "* 0 * * *", "* 3 * * 0", "30 2 * * *", "0 0 * * *", "30 0 * * *", "0,30 0,1,2,3 * * *",
    "5 1-3 * * *", "*/5 2 * * *", "45 1 * * 1-5", "59 23 * * 6", "0 0 1 * *", "1-59/2 2 25,29 * *",
    "0 2 8 * 7", "20 3 1-7 3,10 sun", "10 * 30 * 5", "0 12 * * 0", "40 1 * 4-12/2 *",
]  # fmt: skip
MINUTE = timedelta(minutes=1)
MINUTES = 6 * 24 * 60


def numbers(field: str, low: int, high: int) -> np.ndarray:
    """Which numbers a field names, as a table of booleans."""
    named = np.zeros(high + 1, bool)
    for part in field.replace("sun", "0").split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        start = low if first == "*" else int(first)
        stop = high if first == "*" else int(last or first)
        named[start : stop + 1 : int(step or 1)] = True
    return named


def names(cron: str, times: list[datetime]) -> list[bool]:
    """Whether an expression names each of some local times: crontab(5), read again."""
    minute, hour, day, month, weekday = cron.split()
    tables = [
        (numbers(minute, 0, 59), [time.minute for time in times]),
        (numbers(hour, 0, 23), [time.hour for time in times]),
        (numbers(month, 1, 12), [time.month for time in times]),
    ]
    weekdays = numbers(weekday, 0, 7)
    by_date = numbers(day, 1, 31)[[time.day for time in times]]
    of_week = [time.isoweekday() for time in times]
    by_week = weekdays[of_week] | weekdays[np.asarray(of_week) % 7]
    either = not (day.startswith("*") or weekday.startswith("*"))
    fits = by_date | by_week if either else by_date & by_week
    for table, value in tables:
        fits = fits & table[value]
    return list(fits)


def brute_force(cron: str, moments: list[datetime], locals_: list[datetime]) -> list[datetime]:
    """The firings among moments a minute apart, by the rule of the calendar's first lines."""
    named = names(cron, locals_)
    by_the_wall = cron.startswith("*") or cron.split()[1].startswith("*")
    if by_the_wall:
        return [moment for moment, fits in zip(moments, named, strict=True) if fits]
    found = []
    shown: datetime = locals_[0]
    for moment, local, fits in zip(moments, locals_, named, strict=True):
        skipped = []
        while shown + MINUTE < local:
            shown += MINUTE
            skipped.append(shown)
        is_first = local > shown or moment == moments[0]
        shown = max(shown, local)
        if (fits and is_first) or (skipped and any(names(cron, skipped))):
            found.append(moment)
    return found


@pytest.mark.parametrize("zone", CHANGES)
def test_brute_force_finds_the_same_firings(zone: str) -> None:
    choose = np.random.default_rng(7)
    for change in CHANGES[zone]:
        start = at(change) - timedelta(days=3)
        moments = [start + minute * MINUTE for minute in range(MINUTES)]
        locals_ = [moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)
                   for moment in moments]  # fmt: skip
        for cron in EXPRESSIONS:
            expected = brute_force(cron, moments, locals_)
            plan = schedule(cron, zone)
            # Half of the windows begin or end within hours of the change.
            near = choose.integers(MINUTES // 2 - 720, MINUTES // 2 + 720, 6)
            anywhere = choose.integers(0, MINUTES - 1, 6)
            for one, other in zip(near, anywhere, strict=True):
                after = moments[min(one, other)] + timedelta(seconds=int(choose.integers(60)))
                now = moments[max(one, other)] + timedelta(microseconds=5)
                missed = [firing for firing in expected if after < firing <= now]
                following = [firing for firing in expected if firing > after]
                case = (cron, zone, after, now)
                assert latest_firing(plan, after, now) == (missed[-1] if missed else None), case
                if following:
                    assert next_firing(plan, after) == following[0], case


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
    leap_day = schedule("0 0 29 2 *")
    assert latest_firing(leap_day, at("2025-01-01"), now) is None
    assert latest_firing(leap_day, long_ago, now) == at("2024-02-29")


def test_what_never_comes_is_refused_or_has_no_firing() -> None:
    with pytest.raises(InputError, match=r"cron '0 0 31 2 \*': Bad day-of-month. Give five fields"):
        trigger(schedule("0 0 31 2 *"))
    never = schedule("0 0 */20 * 1L")  # the last Monday is never the 1st or the 21st
    assert next_firing(never, at("2026-01-01")) is None
    assert latest_firing(never, at("2026-01-01"), at("2026-02-01")) is None


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


FIELDS = "Give five fields as in crontab, of a time that comes: 0 3 * * sun."


@pytest.mark.parametrize(
    ("cron", "zone", "message"),
    [
        (
            "* * * *",
            "UTC",
            f"schedule x: cron '* * * *': 4 fields. {FIELDS}",
        ),
        (
            "0 * * * * *",
            "UTC",
            f"schedule x: cron '0 * * * * *': 6 fields. {FIELDS}",
        ),
        (
            "",
            "UTC",
            f"schedule x: cron '': 0 fields. {FIELDS}",
        ),
        (
            "* * * * 6-0",
            "UTC",
            f"schedule x: cron '* * * * 6-0': Bad day-of-week. {FIELDS}",
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
    with pytest.raises(
        InputError, match=r"^schedule x: cron '61 \* \* \* \*': Bad minute. Give five"
    ):
        next_firing(schedule("61 * * * *"), at("2026-01-01"))


def test_a_cron_that_yaml_read_as_a_number_is_refused_too() -> None:
    with pytest.raises(InputError, match="schedule x: cron is 5; it must be text"):
        next_firing(schedule(5), at("2026-01-01"))  # type: ignore[arg-type]
