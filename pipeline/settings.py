"""Settings: from what a person wrote to a checked dataclass, by one rule for every way in.

A recipe's values, flags, `SECTION.SETTING=VALUE` and Python's keyword arguments all come here. A
text is read as its field's type says, never as YAML would guess it: `1e3` and `16M` are whole
numbers, `1:2` stays text, and `no` is false where a switch is asked for and the word elsewhere.
Whatever does not fit is refused by its name, and by its line where it was read from a file.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from pipeline import kinds
from pipeline.errors import InputError

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a value was written, and its text there.

    `where` begins a message about the value: "recipe mine.yaml, line 3"; "" where its name says
    enough. `written` is the text of a scalar, texts for a list, and None for YAML's null.
    """

    where: str
    written: Any


class Settings(dict[str, Any]):
    """Values by name, and the places of those that were written somewhere.

    A value without a place is a Python value: it must have its field's type as it is.
    """

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        places: Mapping[str, Place] | None = None,
    ) -> None:
        super().__init__(values or {})
        self.places = dict(places or {})

    @classmethod
    def of_texts(cls, texts: Mapping[str, str], where: str = "") -> Settings:
        """Settings that were given as texts, as on a command line."""
        places = {name: Place(where=where, written=text) for name, text in texts.items()}
        return cls(texts, places)


def over(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> Settings:
    """Settings with others over them."""
    # A changed value leaves its old place, even for a Python value that has none.
    kept = {name: place for name, place in places_of(settings).items() if name not in changes}
    return Settings({**settings, **changes}, {**kept, **places_of(changes)})


def places_of(settings: Mapping[str, Any]) -> dict[str, Place]:
    """The places of a mapping's values; none for a plain dict."""
    return dict(settings.places) if isinstance(settings, Settings) else {}


def configured(config_class: type[C], settings: Mapping[str, Any], section: str = "") -> C:
    """A section's settings as its dataclass. InputError names the setting that does not fit."""
    values = read(config_class, settings, section)
    for field in dataclasses.fields(config_class):  # type: ignore[arg-type]
        if field.name not in values:
            where = f", or {field.name} in the recipe's section {section}" if section else ""
            raise InputError(f"{field.name} is not given; give --{field.name}{where}.")
    try:
        return config_class(**values)
    except InputError as error:
        raise _placed(error, settings, section) from None


def read(config_class: type[Any], settings: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Settings as values of their fields' types, defaults included; ranges are not looked at.

    A field without a default that is not given is left out.
    """
    check_names(config_class, settings, section)
    types = types_of(config_class)
    places = places_of(settings)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config_class):
        if field.name in settings:
            place = places.get(field.name)
            label = _label(field.name, place, section)
            kind = types[field.name]
            value = settings[field.name]
            values[field.name] = _read_one(label, kind, value, place)
        elif field.default is not dataclasses.MISSING:
            values[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            values[field.name] = field.default_factory()
    return values


def check(config: Any) -> None:
    """Refuse a dataclass whose values are not of their fields' types: called by __post_init__, so
    that Python's way in is checked as a recipe is.
    """
    types = types_of(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not kinds.accepts(types[field.name], value):
            raise _unfit(field.name, types[field.name], value)


def check_names(config_class: type[Any], settings: Iterable[str], section: str) -> None:
    """Refuse a setting that the dataclass does not have, with the nearest one that it has."""
    known = [field.name for field in dataclasses.fields(config_class)]
    places = settings.places if isinstance(settings, Settings) else {}
    for name in settings:
        if name in known:
            continue
        place = places.get(name)
        where = f"{place.where}: " if place and place.where else ""
        hint = nearest(name, known) or (" See --help." if section else "")
        what = f"section {section} has" if section else "there is"
        raise InputError(f"{where}{what} no setting {name}.{hint}")


def nearest(word: str, known: Iterable[str]) -> str:
    """ " Did you mean ...?" for a word that is nearly a known one; "" for any other."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f" Did you mean {close[0]}?" if close else ""


def types_of(config_class: Any) -> dict[str, Any]:
    """The fields' types by name, their names resolved."""
    return _types_of(config_class)


@functools.cache  # a configuration is checked for every text that Python asks for
def _types_of(config_class: Any) -> dict[str, Any]:
    return get_type_hints(config_class)


def _read_one(label: str, kind: Any, value: Any, place: Place | None) -> Any:
    if place is None:
        if not kinds.accepts(kind, value):
            raise _unfit(label, kind, value)
        return value
    try:
        return kinds.read(kind, place.written)
    except ValueError:
        raise _unfit(label, kind, place.written) from None


def _unfit(label: str, kind: Any, value: Any) -> InputError:
    found = "null" if value is None else repr(value)
    if len(found) > 80:
        found = f"{found[:77]}..."
    hint = nearest(value.lower(), kinds.words(kind)) if isinstance(value, str) else ""
    return InputError(f"{label} is {found}; it must be {kinds.needed(kind)}.{hint}")


def _label(name: str, place: Place | None, section: str) -> str:
    """What a message calls a setting: its name, and where it was written if that is not clear."""
    return f"{place.where}: {section}.{name}" if place and place.where else name


def _placed(error: InputError, settings: Mapping[str, Any], section: str) -> InputError:
    """An error of the dataclass's own checks with its place: they begin with the setting's name."""
    name = str(error).partition(" ")[0]
    place = places_of(settings).get(name)
    if not place or not place.where:
        return error
    return InputError(f"{place.where}: {section}.{error}")
