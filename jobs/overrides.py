"""SECTION.SETTING=VALUE on a command line: any setting of any section that a job reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import InputError
from pipeline.settings import Settings, check_names, nearest, over

FORM = "SECTION.SETTING=VALUE"
# For --help.
EXAMPLES = {
    "corpus": "corpus.unit=char",
    "train": "train.max_steps=100",
    "sample": "sample.num_chars=1000",
    "evaluate": "evaluate.split=test",
}


def read_overrides(
    arguments: Iterable[str], sections: Mapping[str, type[Any]]
) -> dict[str, Settings]:
    """Settings by section. The last one wins, as with flags.

    InputError for an argument of another form, a section that the job does not read, and a setting
    that the section does not have.
    """
    changes: dict[str, Settings] = {}
    for argument in arguments:
        path, equals, text = argument.partition("=")
        section, dot, name = path.partition(".")
        if not (equals and dot):
            raise InputError(f"{argument!r} is neither a flag nor {FORM}. See --help.")
        if section not in sections:
            there_are = " and ".join(sections)
            hint = nearest(section, sections)
            raise InputError(f"{argument}: this job reads {there_are}, not {section!r}.{hint}")
        settings = Settings.of_texts({name: text}, argument)
        check_names(sections[section], settings, section)
        changes[section] = over(changes.get(section, {}), settings)
    return changes
