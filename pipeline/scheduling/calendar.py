"""When a schedule fires: cron expressions with time zones, by APScheduler's CronTrigger. Instants are in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from pipeline.errors import InputError
from pipeline.scheduling.config import Schedule

# How far back the latest firing is looked for: a step is only taken when the ones before found nothing.
_LOOK_BACK = tuple(timedelta(**{unit: count}) for unit, count in (("hours", 2), ("days", 2), ("days", 40), ("days", 400)))
_FORMAT = "%Y%m%dT%H%M%SZ"


def trigger(schedule: Schedule) -> CronTrigger:
    """The schedule's trigger. InputError for an expression or a time zone that is none."""
    try:
        zone = ZoneInfo(schedule.timezone)
    except (KeyError, ValueError, OSError):
        raise InputError(
            f"schedule {schedule.name}: no time zone {schedule.timezone!r}; give one such as Europe/Berlin."
        ) from None
    try:
        return CronTrigger.from_crontab(str(schedule.cron), timezone=zone)
    except ValueError as error:
        raise InputError(f"schedule {schedule.name}: cron {schedule.cron!r}: {error}. Give five fields: 0 3 * * sun.") from None


def next_firing(schedule: Schedule, after: datetime) -> datetime | None:
    """The first firing after an instant; None for an expression that never fires again, such as 30 February."""
    fires = trigger(schedule)
    return _next(fires, after)


def latest_firing(schedule: Schedule, after: datetime, now: datetime) -> datetime | None:
    """The last firing in (after, now]: however many were missed, one is caught up. None when there was none."""
    fires = trigger(schedule)
    for back in _LOOK_BACK:
        start, latest = max(after, now - back), None
        found = _next(fires, start)
        while found and found <= now:
            latest, found = found, _next(fires, found)
        if latest or start == after:
            return latest
    return None


def _next(fires: CronTrigger, after: datetime) -> datetime | None:
    """The trigger's next instant strictly after one, in UTC. In a night that repeats an hour both may fire, an instant each."""
    moment = (after + timedelta(microseconds=1)).astimezone(fires.timezone)
    # The day after clocks go forward, APScheduler 3.11 steps 24 hours and so over what fires in the day's first hour: ask
    # from the coming midnights as well.
    midnights = [(moment + timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0, fold=0) for days in (1, 2)]
    found = [fires.get_next_fire_time(None, start) for start in (moment, *midnights)]
    return min((each.astimezone(UTC) for each in found if each), default=None)


def stamp(instant: datetime) -> str:
    """An instant as it stands in ids and names, to the second."""
    return instant.astimezone(UTC).strftime(_FORMAT)


def instant(text: str) -> datetime:
    """The inverse of `stamp`."""
    return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
