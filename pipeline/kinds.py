"""The types that a setting may have: reading one from text, and checking a Python value.

Types are bool, int, float, str, None, Literal, list[...] and unions of these; a value of any other
type is taken as it is.
"""

from __future__ import annotations

import math
import re
import types
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin

import yaml

# Whole numbers go into 64-bit columns, file offsets and random number generators.
LIMIT = 1 << 63
SWITCH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# `m` is none of them: 5m are minutes.
SIZES = {"k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_NUMBER = re.compile(
    r"(?P<digits>[+-]?(\d[\d_]*(\.\d*)?|\.\d+))(?P<exponent>[eE][+-]?\d{1,4})?"
    rf"(?P<size>{'|'.join(sorted(SIZES, key=len, reverse=True))})?"
)


def read(kind: Any, written: Any) -> Any:
    """A value of a type from its text, or from the texts of a list. ValueError if it is none."""
    if _is_union(kind):
        return _read_union(kind, written)
    if get_origin(kind) is list:
        return _read_list(kind, written)
    if not isinstance(written, str):
        if accepts(kind, written):
            return written
        raise ValueError(written)
    if get_origin(kind) is Literal:
        return _one_of({word: word for word in get_args(kind)}, written)
    readers = {bool: _switch, int: _whole_number, float: _number, types.NoneType: _nothing}
    return readers.get(kind, str)(written)


def accepts(kind: Any, value: Any) -> bool:
    """Whether a Python value is of a type, and, if it is a number, one that can be worked with."""
    if _is_union(kind):
        return any(accepts(member, value) for member in get_args(kind))
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is list:
        (member,) = get_args(kind)
        return isinstance(value, list) and all(accepts(member, each) for each in value)
    if kind in (int, float):
        return _is_number(kind, value)
    is_known = kind in (bool, str, types.NoneType)
    return isinstance(value, kind) if is_known else True


def _is_number(kind: Any, value: Any) -> bool:
    # True is an int to Python, and never to a person. NumPy's numbers are numbers.
    if isinstance(value, bool):
        return False
    if isinstance(value, Integral):
        return abs(int(value)) < LIMIT
    return kind is float and isinstance(value, Real) and math.isfinite(value)


def needed(kind: Any) -> str:
    """What a value of a type looks like, for an error."""
    if _is_union(kind):
        members = list(get_args(kind))
        if float in members and int in members:
            members.remove(int)  # a number says it all
        return " or ".join(needed(member) for member in members)
    if get_origin(kind) is Literal:
        options = get_args(kind)
        return f"{', '.join(options[:-1])} or {options[-1]}" if len(options) > 1 else options[0]
    if get_origin(kind) is list:
        return "a list such as [a, b]"
    table = {
        bool: "true or false",
        int: "a whole number below 2**63, such as 8, 1e3 or 16M",
        float: "a finite number",
        str: "text",
        types.NoneType: "null",
    }
    return table.get(kind, "something else")


def words(kind: Any) -> list[str]:
    """The words that a type allows, if it is made of words."""
    if _is_union(kind):
        return [word for member in get_args(kind) for word in words(member)]
    return list(get_args(kind)) if get_origin(kind) is Literal else []


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _read_union(kind: Any, written: Any) -> Any:
    """The first member that the text can be, text itself last: every text is that."""
    members = sorted(get_args(kind), key=_text_last)
    is_text = isinstance(written, str)
    for member in members:
        # A lone text is no list where it may also be text: one source is not a list of one.
        if is_text and get_origin(member) is list and _flow_list(written) is None:
            continue
        try:
            return read(member, written)
        except ValueError:
            continue  # the next member of the union may take it; none is said below
    raise ValueError(written)


def _text_last(member: Any) -> int:
    return 1 if member is str else 0


def _read_list(kind: Any, written: Any) -> list[Any]:
    """A list, or a text as a list of one: `include: '*.py'` means that pattern."""
    (member,) = get_args(kind)
    texts = written
    if isinstance(written, str):
        parsed = _flow_list(written)
        texts = [written] if parsed is None else parsed
    if not isinstance(texts, list):
        raise ValueError(written)
    return [read(member, text) for text in texts]


def _flow_list(text: str) -> list[Any] | None:
    """The texts of `[a, b]`; None for a text that is no such list."""
    if not text.lstrip().startswith("["):
        return None
    try:
        # BaseLoader leaves every scalar a text.
        parsed = yaml.load(text, yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        return None
    return parsed if isinstance(parsed, list) else None


def _one_of(table: dict[str, Any], text: str) -> Any:
    if text not in table:
        raise ValueError(text)
    return table[text]


def _switch(text: str) -> bool:
    return bool(_one_of(SWITCH, text.lower()))


def _nothing(text: str) -> None:
    raise ValueError(text)


def _decimal(text: str) -> Decimal:
    """The number that a text stands for, its size multiplied out."""
    match = _NUMBER.fullmatch(text.strip())
    if not match:
        raise ValueError(text)
    digits = match["digits"].replace("_", "")
    return Decimal(digits + (match["exponent"] or "")) * SIZES.get(match["size"] or "", 1)


def _whole_number(text: str) -> int:
    value = _decimal(text)
    match = _NUMBER.fullmatch(text.strip())
    assert match
    # 1.0 is a fraction of the text, and never one token: only 1.5e3 and 1.5k may have a point.
    has_point_alone = "." in match["digits"] and not (match["exponent"] or match["size"])
    # Looked at before int(): 1e9999 would be made digit by digit.
    if has_point_alone or value.adjusted() > 20 or value != value.to_integral_value():
        raise ValueError(text)
    if not abs(value) < LIMIT:
        raise ValueError(text)
    return int(value)


def _number(text: str) -> float:
    value = float(_decimal(text))
    if not math.isfinite(value):
        raise ValueError(text)
    return value
