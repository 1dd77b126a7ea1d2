"""A schedule: which recipe is rebuilt when, and whether a model is trained on what changed."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pipeline.errors import InputError
from pipeline.recipes import load_recipe

# The two stages of a firing. The ledger's files and the jobs' ids hold these words.
BUILD = "build"
TRAIN = "train"

MAX_RETRIES = 20
MAX_RETRY_AFTER_S = 86_400  # a day
_TEXTS = ("name", "cron", "recipe", "timezone", "scale", "on_failure")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")  # a schedule's name is part of its jobs' ids


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
    on_failure: str = ""
    """whom to tell of a firing that failed and is not tried again: a URL that gets a JSON POST, or
    a command that reads the JSON"""

    def __post_init__(self) -> None:
        for option in _TEXTS:
            value = getattr(self, option)
            if not isinstance(value, str):
                raise InputError(f"schedule {self.name}: {option} is {value!r}; it must be text.")
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"schedule name {self.name!r} must be lower-case letters, digits and hyphens, "
                "41 at most."
            )
        if type(self.retries) is not int or not 0 <= self.retries <= MAX_RETRIES:
            raise InputError(
                f"schedule {self.name}: retries is {self.retries}; "
                f"it must be from 0 to {MAX_RETRIES}."
            )
        is_number = type(self.retry_after_s) in (int, float)
        if not is_number or not 0 <= self.retry_after_s <= MAX_RETRY_AFTER_S:
            raise InputError(
                f"schedule {self.name}: retry_after_s is {self.retry_after_s}; "
                f"it must be from 0 to {MAX_RETRY_AFTER_S:,}."
            )
        self._check_on_failure()
        for option, flags in (("build", self.build), ("train", self.train or {})):
            if not isinstance(flags, dict) or not all(isinstance(key, str) for key in flags):
                raise InputError(
                    f"schedule {self.name}: {option} must be flags and their values, "
                    "such as {num_workers: 2}."
                )

    def _check_on_failure(self) -> None:
        """Refuse what cannot be told anything, before a failure finds out."""
        try:
            words = shlex.split(self.on_failure)
        except ValueError as error:
            raise InputError(f"schedule {self.name}: on_failure is no command: {error}.") from None
        if self.on_failure and not words:
            raise InputError(f"schedule {self.name}: on_failure is blank; leave it out.")
        is_other_url = "://" in self.on_failure.partition(" ")[0]
        if is_other_url and not self.on_failure.startswith(("http://", "https://")):
            raise InputError(
                f"schedule {self.name}: on_failure must be an http or https URL, or a command."
            )

    @cached_property
    def corpus(self) -> str:
        """The corpus that is rebuilt. Two builds of one corpus never run at once."""
        # The recipe is read once, not at every look.
        named = self.build.get("name")
        return str(named or load_recipe(self.recipe, self.scale)["corpus"]["name"])

    def command(self, stage: str, root: str, corpus: str = "") -> list[str]:
        """The job to run for a stage, BUILD or TRAIN. A training needs `corpus`, NAME@VERSION."""
        flags: dict[str, Any] = {"recipe": self.recipe}
        if self.scale:
            flags["scale"] = self.scale
        flags["root"] = root
        # The schedule's own flags come last: they may name another root, or another scale.
        if stage == BUILD:
            return ["jobs/build_corpus.py", *_command_line(flags | self.build)]
        trained = {**(self.train or {}), "corpus": corpus}
        return ["jobs/train.py", *_command_line(flags | trained)]


def _command_line(flags: dict[str, Any]) -> list[str]:
    """Flags as a command line has them: true stands alone, false is left out."""
    line = []
    for name, value in flags.items():
        if value is False:
            continue
        line.append(f"--{name}")
        if value is not True:
            line.append(str(value))
    return line
