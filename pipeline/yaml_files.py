"""YAML as a person means it: every value keeps its text and its line.

The words are YAML 1.2's: `no` and `on` are words, and `1:2` is text; YAML 1.1, which PyYAML reads,
has false, true and the number 62. Dates are text too. A key that is there twice is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from pipeline.errors import InputError
from pipeline.settings import Place, Settings

_RESOLVED = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9][0-9_]*", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # none of SafeLoader's
    where = ""


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # quotes what _Loader would not read as text

    def ignore_aliases(self, data: Any) -> bool:
        return True


def load(text: str, where: str) -> Any:
    """The value of a YAML text: mappings are Settings, whose places begin with `where`.

    InputError, in one line, for a text that is no YAML.
    """
    try:
        loader = _Loader(text)
        loader.where = where
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{where} is not YAML: {reason}") from None


def dump(value: Mapping[str, Any]) -> str:
    """A text that `load` reads as the same value."""
    return yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Settings:
    _refuse_repeated_keys(loader, node)
    loader.flatten_mapping(node)  # what a merge (<<) brings comes first, to be replaced
    settings = Settings()
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise InputError(f"{_place(loader, key_node)}: the name {key!r} must be a word.")
        settings[key] = loader.construct_object(value_node, deep=True)
        settings.places[key] = Place(where=_place(loader, key_node), written=_written(value_node))
    return settings


def _refuse_repeated_keys(loader: _Loader, node: yaml.MappingNode) -> None:
    """YAML would take the last one, silently."""
    lines: dict[Any, str] = {}
    for key_node, _ in node.value:
        if key_node.value == "<<" or not isinstance(key_node, yaml.ScalarNode):
            continue
        place = _place(loader, key_node)
        if key_node.value in lines:
            raise InputError(
                f"{place}: {key_node.value} was there before: {lines[key_node.value]}."
            )
        lines[key_node.value] = place


def _place(loader: _Loader, node: yaml.Node) -> str:
    return f"{loader.where}, line {node.start_mark.line + 1}"


def _written(node: yaml.Node) -> Any:
    """A scalar's text, the texts of a list, None for null; {} for what no setting is."""
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == "tag:yaml.org,2002:null" else node.value
    if isinstance(node, yaml.SequenceNode):
        # No deeper: aliases of aliases would make a small file a text without end.
        return [_written(each) if isinstance(each, yaml.ScalarNode) else {} for each in node.value]
    return {}


def _integer(_: _Loader, node: yaml.ScalarNode) -> int:
    # As it is read: to PyYAML 010 is octal.
    return int(node.value.replace("_", ""))


def _float(_: _Loader, node: yaml.ScalarNode) -> float:
    text = node.value.replace("_", "").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


for _tag, _pattern, _first in _RESOLVED:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
        )
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
