"""A schedule file, read and checked whole: a mistake is refused now, not at night when it fires."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import yaml

from pipeline import storage
from pipeline.errors import InputError
from pipeline.scheduling.calendar import trigger
from pipeline.scheduling.config import Schedule

_NEEDED = {"name", "cron", "recipe"}
_SETTINGS = {setting.name for setting in fields(Schedule)}


def load_schedules(url: str) -> list[Schedule]:
    """The schedules of a YAML file: a list under `schedules`.

    InputError says which entry is wrong, and how.
    """
    schedules = [_schedule(entry, f"{url}, entry {n}") for n, entry in enumerate(_entries(url), 1)]
    names = [schedule.name for schedule in schedules]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{url}: schedule {', '.join(repeated)} is there more than once.")
    return schedules


def _entries(url: str) -> list[Any]:
    try:
        text = storage.read_bytes(storage.absolute(url))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"no schedule file {url}; see cluster/schedule.yaml.") from None
    try:
        parsed = yaml.safe_load(text)
    # ValueError: a date that is none. RecursionError: brackets within brackets.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # YAML's complaints run over several lines. Ours is one.
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"schedule file {url} is not YAML: {reason}") from None
    entries = parsed.get("schedules") if isinstance(parsed, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InputError(f"schedule file {url} has no list under `schedules`.")
    return entries


def _schedule(entry: Any, where: str) -> Schedule:
    """One entry as a Schedule whose cron, time zone and recipe can be used."""
    if not isinstance(entry, dict) or not set(entry) >= _NEEDED:
        raise InputError(f"{where}: a schedule needs name, cron and recipe.")
    unknown = sorted({str(setting) for setting in entry} - _SETTINGS)
    if unknown:
        raise InputError(
            f"{where}: no setting {', '.join(unknown)}; there are {', '.join(sorted(_SETTINGS))}."
        )
    schedule = Schedule(**entry)
    trigger(schedule)  # raises for a cron expression or a time zone that is none
    schedule.corpus  # noqa: B018  # reads the recipe: raises for one that does not exist
    return schedule
