"""Recipes: YAML files with a section per job. A job reads its own section; default < recipe < scale < flag.

corpus: {name: pystdlib, source: "pystdlib:", ...}     or the name of another recipe, whose corpus it then is
train: {...}
sample: {...}
scales: {small: {train: {...}}, post: {train: {...}}}
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
    """A recipe by name, path or URL, its scale applied: {name, corpus, train, sample}.

    Raises InputError for an unknown recipe or scale, a file that is not YAML, and unknown sections.
    """
    value, name = _read(reference)
    unknown = set(value) - {*SECTIONS, "scales", "about"}
    if unknown:
        raise InputError(
            f"recipe {reference} has unknown sections {sorted(unknown)}; it may have {', '.join(SECTIONS)}, scales."
        )
    recipe = {section: value.get(section) or {} for section in SECTIONS}
    if isinstance(recipe["corpus"], str):
        recipe["corpus"] = load_recipe(recipe["corpus"])["corpus"]
    for section in SECTIONS:
        if not isinstance(recipe[section], dict):
            raise InputError(f"section {section} of recipe {reference} is {recipe[section]!r}; it must be settings.")
    if scale:
        scales = value.get("scales") or {}
        if scale not in scales:
            raise InputError(f"recipe {name} has no scale {scale!r}; it has {', '.join(sorted(scales)) or 'none'}.")
        for section, settings in scales[scale].items():
            recipe[section] = {**recipe[section], **settings}
    if recipe["corpus"]:
        recipe["corpus"].setdefault("name", name)
        recipe["train"].setdefault("corpus", recipe["corpus"]["name"])
    recipe["sample"].setdefault("model", f"models:/{name}@champion")
    return {"name": name, **recipe}


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
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read recipe {reference}: {type(error).__name__}: {error}") from None
