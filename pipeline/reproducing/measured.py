"""A figure in the JSON of what a recipe came to, found by a path that a claim writes down.

    evaluation.models[0].bits_per_byte
    evaluation.compressors[name=xz].cold_bits_per_byte
    evaluation.ngrams[least bits_per_byte].bits_per_byte
    evaluation.studies.structure.groups[0].samples.checks[name=functions that parse].share
    evolution.reached[words of up to 4 letters]

A step is a key behind a dot, or in brackets: an element's number, the element whose field has a
value, the element whose field is the least or the most, or a key with spaces. A path that leads
nowhere is no error: the figure was not measured, and whoever asked says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.errors import InputError

# What evidence there may be, and which stage makes it.
ROOTS: Mapping[str, str] = {
    "corpus": "corpus",
    "training": "train",
    "evolution": "train",
    "samples": "sample",
    "baselines": "sample",
    "evaluation": "evaluate",
    "explanation": "explain",
}
_STEP = re.compile(r"\.(?P<key>\w+)|\[(?P<choice>[^\[\]]+)\]")
_NUMBER = re.compile(r"-?\d+")
_ABSENT = object()


def root_of(path: str) -> str:
    """The first word of a path, which is what evidence it looks into.

    InputError for a text that is no path, before anything has run.
    """
    root = re.match(r"\w*", path)
    assert root
    if root[0] not in ROOTS:
        raise InputError(f"{path!r} begins with none of {', '.join(ROOTS)}.")
    steps(path)
    return root[0]


def steps(path: str) -> list[str]:
    """A path's steps: keys as they are, what stands in brackets with its `[`."""
    found = []
    text = f".{path}"
    at = 0
    while at < len(text):
        step = _STEP.match(text, at)
        if not step:
            raise InputError(
                f"{path!r} is no path from {text[at:]!r} on; write KEY.KEY[CHOICE].KEY."
            )
        found.append(step["key"] or f"[{step['choice']}")
        at = step.end()
    return found


def measured(path: str, evidence: Mapping[str, Any]) -> Any:
    """What stands at a path; None where nothing does."""
    value: Any = evidence
    for step in steps(path):
        value = _chosen(value, step[1:]) if step.startswith("[") else _at(value, step)
        if value is _ABSENT:
            return None
    return value


def _at(value: Any, key: str) -> Any:
    return value.get(key, _ABSENT) if isinstance(value, Mapping) else _ABSENT


def _chosen(value: Any, choice: str) -> Any:
    if isinstance(value, Mapping):
        return _at(value, choice)
    if not isinstance(value, list):
        return _ABSENT
    if _NUMBER.fullmatch(choice):
        number = int(choice)
        return value[number] if -len(value) <= number < len(value) else _ABSENT
    field, equals, wanted = choice.partition("=")
    if equals:
        return next((each for each in value if _says(_at(each, field), wanted)), _ABSENT)
    return _extreme(value, choice)


def _says(found: Any, wanted: str) -> bool:
    """Whether a field has the value that a path spells out: `0.50` is the number 0.5."""
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        try:
            return float(wanted) == float(found)
        except ValueError:
            return False
    return found is not _ABSENT and str(found) == wanted


def _extreme(value: list[Any], choice: str) -> Any:
    which, _, field = choice.partition(" ")
    rows = [each for each in value if isinstance(_at(each, field), (int, float))]
    if which not in ("least", "most") or not rows:
        return _ABSENT
    pick = min if which == "least" else max
    return pick(rows, key=lambda row: _at(row, field))
