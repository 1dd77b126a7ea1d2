"""Flags from a dataclass: names, sentences and groups are the dataclass's, defaults a recipe's."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from jobs.field_docs import field_docs
from pipeline.settings import places_of, types_of

# What stands for a value in --help, by the field's type.
_METAVARS = {int: "N", float: "X", str: "TEXT"}


def add_section(
    parser: argparse.ArgumentParser, config_class: type[Any], settings: Mapping[str, Any]
) -> None:
    """A flag for every field of a dataclass, in its groups; `settings` are the defaults to show.

    A flag that is not given leaves no trace in the parsed values.
    """
    docs = field_docs(config_class)
    group = parser.add_argument_group("settings")
    for field in dataclasses.fields(config_class):
        title = getattr(config_class, "GROUPS", {}).get(field.name)
        if title:
            group = parser.add_argument_group(title)
        add_setting(group, config_class, field, settings, field.name, docs)


def add_setting(
    group: Any,
    config_class: type[Any],
    field: dataclasses.Field[Any],
    settings: Mapping[str, Any],
    dest: str,
    docs: Mapping[str, str],
) -> None:
    """One field as a flag, whose text arrives under `dest`."""
    kind = types_of(config_class)[field.name]
    alone = "true" if kind is bool else field.metadata.get("bare")
    may_stand_alone: dict[str, Any] = {} if alone is None else {"nargs": "?", "const": alone}
    group.add_argument(
        f"--{field.name}",
        dest=dest,
        metavar=field.metadata.get("metavar", _metavar(kind)),
        default=argparse.SUPPRESS,
        help=f"{docs.get(field.name, '')}{_shown_default(field, settings)}",
        **may_stand_alone,
    )


def field_of(config_class: type[Any], name: str) -> dataclasses.Field[Any]:
    (field,) = (field for field in dataclasses.fields(config_class) if field.name == name)
    return field


def _metavar(kind: Any) -> str:
    if kind is bool:
        return ""
    if get_origin(kind) is Literal:
        return "{" + ",".join(get_args(kind)) + "}"
    if get_origin(kind) is list:
        return "[A, B]"
    members = get_args(kind)
    if members:
        return "|".join(dict.fromkeys(_metavar(member) for member in members if member is not bool))
    return _METAVARS.get(kind, "VALUE")


def _shown_default(field: dataclasses.Field[Any], settings: Mapping[str, Any]) -> str:
    """ " (default: 10)"; nothing for a switch that is off, or for an empty text."""
    if field.name in settings:
        value = settings[field.name]
        place = places_of(settings).get(field.name)
        if place and isinstance(place.written, str):
            value = place.written  # as it was written: 1e-3 stays that
    elif field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return " (needed)"
    if (value in ("", False, []) and value != 0) or value is False:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return f" (default: {text})"
