"""When a schedule fires: cron expressions with time zones, by APScheduler's CronTrigger.

All instants that come and go are in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from pipeline.errors import InputError
from pipeline.scheduling.config import Schedule

# How far back the latest firing is looked for, nearest first. A wider window is tried only when the
# narrower one held no firing: of a schedule that fires every minute at most 2 hours are walked
# through, 120 steps, however long no scheduler ran.
_WINDOWS = (timedelta(hours=2), timedelta(days=2), timedelta(days=40), timedelta(days=400))
_FORMAT = "%Y%m%dT%H%M%SZ"


def utc_now() -> datetime:
    return datetime.now(UTC)


def trigger(schedule: Schedule) -> CronTrigger:
    """The schedule's trigger. InputError for an expression or a time zone that is none."""
    try:
        zone = ZoneInfo(schedule.timezone)
    except (KeyError, ValueError, OSError):
        raise InputError(
            f"schedule {schedule.name}: no time zone {schedule.timezone!r}; "
            "give one such as Europe/Berlin."
        ) from None
    try:
        return CronTrigger.from_crontab(str(schedule.cron), timezone=zone)
    except ValueError as error:
        raise InputError(
            f"schedule {schedule.name}: cron {schedule.cron!r}: {error}. "
            "Give five fields: 0 3 * * sun."
        ) from None


def next_firing(schedule: Schedule, after: datetime) -> datetime | None:
    """The first firing after an instant; None for one that never comes, such as 30 February."""
    return _next(trigger(schedule), after)


def latest_firing(schedule: Schedule, after: datetime, now: datetime) -> datetime | None:
    """The last firing in (after, now]; None when there was none, or none in the last 400 days.

    However many were missed, only this one is caught up.
    """
    fires = trigger(schedule)
    for window in _WINDOWS:
        start = max(after, now - window)
        latest = None
        firing = _next(fires, start)
        while firing and firing <= now:
            latest = firing
            firing = _next(fires, firing)
        if latest or start == after:
            return latest
    return None


def _next(fires: CronTrigger, after: datetime) -> datetime | None:
    """The trigger's first instant strictly after another.

    In the night that has an hour twice, a time within it may fire twice, an instant each.
    """
    # APScheduler answers with a firing at or after the instant it is asked for.
    moment = (after + timedelta(microseconds=1)).astimezone(fires.timezone)
    # On the day after clocks go forward, APScheduler 3.11 skips what fires in the day's first hour:
    # it steps 24 hours there. So the two coming midnights are asked too, and the earliest counts.
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [moment, midnight + timedelta(days=1), midnight + timedelta(days=2)]
    firings = [fires.get_next_fire_time(None, start) for start in starts]
    return min((firing.astimezone(UTC) for firing in firings if firing), default=None)


def stamp(instant: datetime) -> str:
    """An instant as it stands in ids and names, to the second."""
    return instant.astimezone(UTC).strftime(_FORMAT)


def instant(text: str) -> datetime:
    """The inverse of `stamp`."""
    return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
