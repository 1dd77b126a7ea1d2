"""Schedules: which recipe is rebuilt when, and whether a model is trained on what changed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from pipeline import storage
from pipeline.errors import InputError
from pipeline.recipes import load_recipe

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")  # part of a job's id


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One entry of a schedule file. Flags are those of jobs/build_corpus.py and jobs/train.py."""

    name: str
    cron: str
    """five fields, as in crontab: minute, hour, day of month, month, day of week"""
    recipe: str
    timezone: str = "UTC"
    scale: str = ""
    build: dict[str, Any] = field(default_factory=dict)
    """flags of the build"""
    train: dict[str, Any] | None = None
    """flags of a training on each new corpus version; leave it out to train nothing"""
    retries: int = 2
    """times a failed build or training is tried again"""
    retry_after_s: float = 60.0
    """seconds before the first of these; each further one waits twice as long"""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"schedule name {self.name!r} must be lower-case letters, digits and hyphens, 41 at most.")
        if not isinstance(self.retries, int) or not 0 <= self.retries <= 20:
            raise InputError(f"schedule {self.name}: retries is {self.retries}; it must be from 0 to 20.")
        if not isinstance(self.retry_after_s, int | float) or not 0 <= self.retry_after_s <= 86_400:
            raise InputError(f"schedule {self.name}: retry_after_s is {self.retry_after_s}; it must be from 0 to 86,400.")
        for option, flags in (("build", self.build), ("train", self.train or {})):
            if not isinstance(flags, dict) or not all(isinstance(key, str) for key in flags):
                raise InputError(f"schedule {self.name}: {option} must be flags and their values, such as {{num_workers: 2}}.")

    @property
    def corpus(self) -> str:
        """The corpus that is rebuilt: no two builds of one run at once."""
        return str(self.build.get("name") or load_recipe(self.recipe, self.scale)["corpus"]["name"])

    def command(self, stage: str, root: str, corpus: str = "") -> list[str]:
        """The job to run for a stage, `build` or `train`; a training learns `corpus`, NAME@VERSION."""
        flags = {"recipe": self.recipe, **({"scale": self.scale} if self.scale else {}), "root": root}
        flags |= self.build if stage == "build" else {**(self.train or {}), "corpus": corpus}
        return [f"jobs/{'build_corpus' if stage == 'build' else 'train'}.py", *_flags(flags)]


def _flags(values: dict[str, Any]) -> list[str]:
    """Flags as a command line has them; true stands alone, false is left out."""
    line = []
    for key, value in values.items():
        if value is not False:
            line += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    return line


def load_schedules(url: str) -> list[Schedule]:
    """The schedules of a YAML file: a list under `schedules`. InputError says which entry is wrong, and how."""
    from pipeline.scheduling.calendar import trigger

    try:
        parsed = yaml.safe_load(storage.read_bytes(storage.absolute(url)))
    except FileNotFoundError:
        raise InputError(f"no schedule file {url}; see cluster/schedule.yaml.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"schedule file {url} is not YAML: {' '.join(str(error).split())[:200]}") from None
    entries = parsed.get("schedules") if isinstance(parsed, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InputError(f"schedule file {url} has no list under `schedules`.")
    known = {field.name for field in fields(Schedule)}
    schedules = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not {"name", "cron", "recipe"} <= set(entry):
            raise InputError(f"{url}, entry {number}: a schedule needs name, cron and recipe.")
        if unknown := sorted(set(map(str, entry)) - known):
            raise InputError(f"{url}, entry {number}: no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
        schedule = Schedule(**entry)
        trigger(schedule)
        schedule.corpus  # noqa: B018  # a recipe that does not exist is refused now, not at night
        schedules.append(schedule)
    names = [schedule.name for schedule in schedules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{url}: schedule {', '.join(twice)} is there more than once.")
    return schedules
