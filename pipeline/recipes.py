"""Recipes: YAML files with a section per job. A job reads its own section; default < recipe < scale < flag.

corpus: {name: pystdlib, source: "pystdlib:", ...}     or the name of another recipe, whose corpus it then is
train: {...}
sample: {...}
scales: {small: {}, post: {train: {...}}}                  what each scale changes in the sections above
"""

from __future__ import annotations

import difflib
from importlib import resources
from typing import Any

import yaml

from pipeline.errors import InputError

SECTIONS = ("corpus", "train", "sample", "reproduce")
DEFAULT = "pystdlib"


def recipe_names() -> list[str]:
    """The recipes that ship."""
    folder = resources.files("jobs") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(reference: str, scale: str = "") -> dict[str, Any]:
    """A recipe by name, path or URL, its scale applied: {name, corpus, train, sample, reproduce}.

    Raises InputError for an unknown recipe or scale, a file that is not YAML, and sections that are not settings.
    """
    recipe = _load(reference, scale, ())
    if recipe["corpus"]:
        recipe["corpus"].setdefault("name", recipe["name"])
        recipe["train"].setdefault("corpus", recipe["corpus"]["name"])
    recipe["sample"].setdefault("model", f"models:/{recipe['name']}@champion")
    return recipe


def _load(reference: str, scale: str, above: tuple[str, ...]) -> dict[str, Any]:
    """A recipe's sections, another recipe's corpus put in its place. `above` are the recipes that led here."""
    if reference in above:
        raise InputError(f"recipes {' -> '.join((*above, reference))} take their corpus from each other.")
    value, name = _read(reference)
    _check_sections(value, {*SECTIONS, "scales", "about"}, f"recipe {reference}")
    scales = value.get("scales") or {}
    if not isinstance(scales, dict) or not all(isinstance(settings or {}, dict) for settings in scales.values()):
        raise InputError(f"section scales of recipe {reference} must hold settings by scale and section.")
    if scale and scale not in scales and not above:
        raise InputError(f"recipe {name} has no scale {scale!r}; it has {', '.join(map(str, scales)) or 'none'}.")
    changes = scales.get(scale) or {}
    _check_sections(changes, set(SECTIONS), f"scale {scale} of recipe {reference}")
    recipe: dict[str, Any] = {"name": name}
    for section in SECTIONS:
        settings = value.get(section) or {}
        if section == "corpus" and isinstance(settings, str):
            other = _load(settings, scale, (*above, reference))
            settings = {"name": other["name"], **other["corpus"]}
        for part in (settings, changes.get(section) or {}):
            if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
                raise InputError(f"section {section} of recipe {reference} is {part!r}; it must be settings.")
        recipe[section] = {**settings, **(changes.get(section) or {})}
    return recipe


def _check_sections(value: dict[Any, Any], allowed: set[str], where: str) -> None:
    if unknown := sorted(map(str, set(value) - allowed)):
        raise InputError(f"{where} has unknown sections {', '.join(unknown)}; it may have {', '.join(sorted(allowed))}.")


def _read(reference: str) -> tuple[dict[str, Any], str]:
    if reference in recipe_names():
        text = (resources.files("jobs") / "recipes" / f"{reference}.yaml").read_text()
        name = reference
    else:
        name = reference.rstrip("/").rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")
        text = _fetched(reference)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"recipe {reference} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise InputError(f"recipe {reference} holds no sections; it needs some of {', '.join(SECTIONS)}.")
    return value, name


def _fetched(reference: str) -> str:
    if "/" not in reference and not reference.endswith((".yaml", ".yml")):
        close = difflib.get_close_matches(reference, recipe_names(), 1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise InputError(f"no recipe {reference!r}; there are {', '.join(recipe_names())}, or give a path or URL.{hint}")
    from pipeline import storage

    try:
        return storage.read_bytes(storage.absolute(reference)).decode()
    except InputError:
        raise
    except Exception as error:  # every store has exceptions of its own
        raise InputError(f"cannot read recipe {reference}: {type(error).__name__}: {error}") from None
