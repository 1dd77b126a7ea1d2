"""When a schedule fires: crontab's expressions in time zones. All instants come and go in UTC.

cronsim walks through the local times that an expression names, on a clock that never changes. Here
they become instants, by the rule of Debian's cron:

- An expression that names its hours and minutes (neither field begins with *) fires once for each
  local time. One that the clocks skip is made up for at the first instant behind the gap; one that
  they show twice counts the first time.
- Any other expression (every 15 minutes, every hour) fires whenever the clock on the wall reads a
  time that it names: in a skipped hour never, in a repeated hour both times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from pipeline.errors import InputError
from pipeline.scheduling.config import Schedule

# Clocks of machines differ by seconds. What lies further ahead of now, a wrong clock has written.
AHEAD = timedelta(hours=1)

_FORMAT = "%Y%m%dT%H%M%SZ"
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_NONE = timedelta(0)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Trigger:
    """An expression and its time zone."""

    cron: str
    zone: ZoneInfo

    @property
    def names_its_times(self) -> bool:
        """Whether each firing has a time of its own: none may be lost, and none doubled."""
        minute, hour, *_ = self.cron.split()
        return not minute.startswith("*") and not hour.startswith("*")

    def next(self, after: datetime) -> datetime | None:
        """The first firing after an instant; None where none comes within 50 years."""
        # Where clocks go back soon, local times that have been shown are shown again.
        back = max(self._offset(after) - self._offset(after + _DAY), _NONE)
        found: list[datetime] = []
        for local in _walk(self.cron, self._local(after) - back):
            firings = self._firings(local)
            found += [firing for firing in firings if firing > after]
            # Later local times are shown later for the first time.
            if firings and firings[0] > after:
                break
        return min(found, default=None)

    def latest(self, now: datetime) -> datetime | None:
        """The last firing up to an instant, itself included; None where none was for 50 years."""
        here = self._local(now)
        # Where clocks went back lately, local times ahead of now's have been shown before.
        ahead = max(self._offset(now - _DAY) - self._offset(now), _NONE)
        found: list[datetime] = []
        for local in _walk(self.cron, here + ahead + _SECOND, backwards=True):
            found += [firing for firing in self._firings(local) if firing <= now]
            if found and local <= here:
                break
        return max(found, default=None)

    def _firings(self, local: datetime) -> list[datetime]:
        """The instants at which a local time that the expression names fires: none, one or two."""
        first = self._instant(local, fold=0)
        second = self._instant(local, fold=1)
        if self._local(first) == local:
            is_repeated = first != second
            return [first, second] if is_repeated and not self.names_its_times else [first]
        # A skipped time, read by the clock from before the gap, lies behind the gap; by the clock
        # from behind the gap, before it (PEP 495).
        return [self._end_of_gap(second, first)] if self.names_its_times else []

    def _end_of_gap(self, before: datetime, behind: datetime) -> datetime:
        """The instant between two others at which the clocks change."""
        old = self._offset(before)
        while behind - before > _SECOND:
            middle = (before + (behind - before) / 2).replace(microsecond=0)
            if self._offset(middle) == old:
                before = middle
            else:
                behind = middle
        return behind

    def _offset(self, instant: datetime) -> timedelta:
        return instant.astimezone(self.zone).utcoffset() or _NONE

    def _local(self, instant: datetime) -> datetime:
        """What the clock on the wall reads, without its zone and to the second."""
        return instant.astimezone(self.zone).replace(tzinfo=None, fold=0, microsecond=0)

    def _instant(self, local: datetime, fold: int) -> datetime:
        return local.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)


def trigger(schedule: Schedule) -> Trigger:
    """The schedule's trigger. InputError for an expression or a time zone that is none."""
    try:
        zone = ZoneInfo(schedule.timezone)
    except (KeyError, ValueError, OSError):
        raise InputError(
            f"schedule {schedule.name}: no time zone {schedule.timezone!r}; "
            "give one such as Europe/Berlin."
        ) from None
    fields = len(schedule.cron.split())
    try:
        # cronsim reads a sixth field as seconds. crontab has none.
        if fields != 5:
            raise CronSimError(f"{fields} fields")
        CronSim(schedule.cron, datetime(2000, 1, 1))
    except CronSimError as error:
        raise InputError(
            f"schedule {schedule.name}: cron {schedule.cron!r}: {error}. "
            "Give five fields as in crontab, of a time that comes: 0 3 * * sun."
        ) from None
    return Trigger(schedule.cron, zone)


def next_firing(schedule: Schedule, after: datetime) -> datetime | None:
    """The first firing after an instant; None for one that never comes."""
    return trigger(schedule).next(after)


def latest_firing(schedule: Schedule, after: datetime, now: datetime) -> datetime | None:
    """The last firing in (after, now], None when there was none.

    However many were missed, only this one is caught up.
    """
    latest = trigger(schedule).latest(now)
    return latest if latest and latest > after else None


def _walk(cron: str, start: datetime, backwards: bool = False) -> Iterator[datetime]:
    """The local times that an expression names, after a time or before it."""
    # Without a time zone cronsim changes no clocks. With one, version 2.8 loses firings: of
    # `* 3 * * *` on Lord Howe, where clocks change by half an hour, and of Cairo's first hour.
    yield from CronSim(cron, start, reverse=backwards)


def stamp(instant: datetime) -> str:
    """An instant as it stands in ids and names, to the second."""
    return instant.astimezone(UTC).strftime(_FORMAT)


def instant(text: str) -> datetime:
    """The inverse of `stamp`."""
    return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
