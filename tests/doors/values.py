"""Wrong values by the type of a setting: what people and programs really put there."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

HUGE = 1 << 70

# As text on a command line, by the kind of setting.
FLAGS: dict[str, tuple[str, ...]] = {
    "int": ("two", "1.5", "nan", "", "null", "[1]"),
    "float": ("two", "nan", "inf", "-inf", "", "null", "[1]"),
    "bool": ("perhaps", "2", "[]"),
    "choice": ("nope", "", "null", "[1]"),
}
# As values of a YAML recipe, where null, lists and numbers have types of their own.
YAML: dict[str, tuple[Any, ...]] = {
    "int": ("two", None, [1], {"a": 1}, 1.5, float("nan"), float("inf"), True, HUGE, -HUGE),
    "float": ("two", None, [1], {"a": 1}, float("nan"), float("inf"), True),
    "bool": ("perhaps", None, [], 2, 1.5),
    "choice": ("nope", None, [1], {"a": 1}, 5),
    "text": (None, [1], {"a": 1}),
    "texts": (None, {"a": 1}),  # one text is a list of one, a number the text of it
}
# Python values for the requests of a program.
PYTHON: dict[str, tuple[Any, ...]] = {
    "int": ("two", "5", None, [1], 1.5, float("nan"), True, HUGE, -HUGE),
    "float": ("two", None, [1], float("nan"), float("inf"), -1.0, HUGE**20),
    "text": (None, [1], 5, b"x"),
    "choice": ("nope", None, [1], 5, ""),
}


def kinds(config_class: type[Any]) -> dict[str, str]:
    """Which kind of value each setting of a dataclass takes; those that take several are left out.

    They have tables of their own: a number of steps or minutes, say.
    """
    found = {}
    hints = get_type_hints(config_class)
    for field in dataclasses.fields(config_class):  # these leave class variables out
        kind = _kind(hints[field.name])
        if kind:
            found[field.name] = kind
    return found


def wrong(
    config_class: type[Any], table: dict[str, tuple[Any, ...]]
) -> Iterator[tuple[str, str, Any]]:
    """(setting, kind, wrong value) for every setting that the table has values for."""
    for name, kind in kinds(config_class).items():
        for value in table.get(kind, ()):
            yield name, kind, value


def _kind(hint: Any) -> str:
    plain = {int: "int", float: "float", bool: "bool", str: "text"}
    if hint in plain:
        return plain[hint]
    if get_origin(hint) is Literal:
        return "choice"
    if get_origin(hint) is list and get_args(hint) == (str,):
        return "texts"
    assert get_origin(hint) in (Union, types.UnionType), hint
    return ""
