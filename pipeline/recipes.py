"""Recipes: YAML files with a section per job. A job reads its own section.

    corpus: {name: pystdlib, source: "pystdlib:", ...}   or another recipe's name: its corpus
    train: {...}
    sample: {...}
    scales: {small: {}, post: {train: {...}}}            what each scale changes in these sections

A setting comes from the default, the recipe, its scale, SECTION.SETTING=VALUE or a flag; the later
one wins. Sections are Settings: what was written, and where, stays with each value until a job
reads its section. `name: NAME` names a recipe whose file is called otherwise. `kind: c` says what
its text is, for the checks of evaluation/structure: outside of every section, so that no corpus
gets another fingerprint by it. `reproduce: {claims: [...]}` are what the recipe expects of its
figures: no settings but data, which reproducing/claims.py reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from pipeline import storage, yaml_files
from pipeline.errors import InputError
from pipeline.settings import nearest, over

SECTIONS = ("corpus", "train", "sample", "evaluate", "explain", "reproduce")
DEFAULT = "pystdlib"
# What a corpus's text can be: each has its own checks of structure.
KINDS = ("c", "latex", "wiki", "python", "play", "names", "prose")


def recipe_names() -> list[str]:
    """The recipes that ship."""
    files = [entry.name for entry in _shipped().iterdir()]
    return sorted(file.removesuffix(".yaml") for file in files if file.endswith(".yaml"))


def load_recipe(
    reference: str, scale: str = "", changes: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """A recipe by name, path or URL, its scale applied: name, kind, claims, and every one of
    SECTIONS.

    `kind` is "" where neither the recipe nor the one that lends its corpus says one. A scale's
    claims stand in the place of the recipe's own.

    `changes` are settings by section that come over the recipe's, before what follows from them.

    InputError for an unknown recipe or scale, a file that is not YAML, and sections that are not
    settings.
    """
    recipe = changed(_load(reference, scale, ()), changes or {})
    # What a recipe does not name is named after it.
    if recipe["corpus"]:
        recipe["corpus"].setdefault("name", recipe["name"])
        recipe["train"].setdefault("corpus", recipe["corpus"]["name"])
    for section in ("sample", "evaluate", "explain"):
        recipe[section].setdefault("model", f"models:/{recipe['name']}@champion")
    return recipe


def kind_of(name: str) -> str:
    """What kind of text the shipped recipe of a name has; "" where there is no such recipe."""
    try:
        return str(load_recipe(name)["kind"]) if name else ""
    except InputError:
        return ""


def changed(recipe: dict[str, Any], changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A recipe with other settings over those of some sections."""
    sections = {name: over(recipe[name], settings) for name, settings in changes.items()}
    return {**recipe, **sections}


def _load(reference: str, scale: str, above: tuple[str, ...]) -> dict[str, Any]:
    """A recipe's sections, its corpus resolved. `above` are the recipes that led here by theirs."""
    if reference in above:
        chain = " -> ".join((*above, reference))
        raise InputError(f"recipes {chain} take their corpus from each other.")
    value = _parsed(reference)
    name = _name(reference, value)
    _check_sections(value, {*SECTIONS, "scales", "about", "name", "kind"}, f"recipe {reference}")
    scales = _scales(value, reference)
    # Only the recipe that was asked for must have the scale, not one that lends its corpus.
    if scale and scale not in scales and not above:
        existing = ", ".join(map(str, scales)) or "none"
        raise InputError(f"recipe {name} has no scale {scale!r}; it has {existing}.")
    changes = scales.get(scale) or {}
    _check_sections(changes, set(SECTIONS), f"scale {scale} of recipe {reference}")
    recipe: dict[str, Any] = {"name": name, "kind": _kind(reference, value)}
    for section in SECTIONS:
        settings = value.get(section) or {}
        if section == "corpus" and isinstance(settings, str):
            lender = _load(settings, scale, (*above, reference))
            settings = over({"name": lender["name"]}, lender["corpus"])
            recipe["kind"] = recipe["kind"] or lender["kind"]
        scaled = changes.get(section) or {}
        _check_settings(settings, section, reference)
        _check_settings(scaled, section, reference)
        recipe[section] = over(settings, scaled)
    # A setting is read from its text, and a claim holds more than a text: they part here.
    recipe["claims"] = recipe["reproduce"].pop("claims", [])
    return recipe


def _scales(value: dict[Any, Any], reference: str) -> dict[Any, Any]:
    """What each scale changes, by section; None for a scale that changes nothing."""
    scales = value.get("scales") or {}
    if isinstance(scales, dict) and all(isinstance(each or {}, dict) for each in scales.values()):
        return scales
    raise InputError(
        f"section scales of recipe {reference} must hold settings by scale and section."
    )


def _check_sections(value: dict[Any, Any], allowed: set[str], where: str) -> None:
    unknown = sorted(map(str, set(value) - allowed))
    if unknown:
        raise InputError(
            f"{where} has unknown sections {', '.join(unknown)}; "
            f"it may have {', '.join(sorted(allowed))}."
        )


def _check_settings(settings: Any, section: str, reference: str) -> None:
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise InputError(
            f"section {section} of recipe {reference} is {settings!r}; it must be settings."
        )


def _name(reference: str, value: dict[Any, Any]) -> str:
    """A recipe's name: the one it gives itself, what it ships under, or its file's name."""
    if "name" in value:
        if not isinstance(value["name"], str) or not value["name"]:
            raise InputError(f"recipe {reference}: name is {value['name']!r}; it must be a word.")
        return value["name"]
    file = reference.rstrip("/").rsplit("/", 1)[-1]
    return file.removesuffix(".yaml").removesuffix(".yml")


def _kind(reference: str, value: dict[Any, Any]) -> str:
    """What a recipe says its text is; "" when it says nothing."""
    kind = value.get("kind") or ""
    if kind in ("", *KINDS):
        return str(kind)
    raise InputError(
        f"recipe {reference}: kind is {kind!r}; it must be one of {', '.join(KINDS)}."
        f"{nearest(str(kind), KINDS)}"
    )


def _parsed(reference: str) -> dict[Any, Any]:
    value = yaml_files.load(_text(reference), f"recipe {reference}")
    if not isinstance(value, dict):
        raise InputError(
            f"recipe {reference} holds no sections; it needs some of {', '.join(SECTIONS)}."
        )
    return value


def _text(reference: str) -> str:
    names = recipe_names()
    if reference in names:
        return (_shipped() / f"{reference}.yaml").read_text()
    # A bare word is meant as a name: a typo gets a suggestion, not a file that is missing.
    if "/" not in reference and not reference.endswith((".yaml", ".yml")):
        hint = nearest(reference, names)
        raise InputError(
            f"no recipe {reference!r}; there are {', '.join(names)}, or give a path or URL.{hint}"
        )
    try:
        return storage.read_bytes(storage.absolute(reference)).decode()
    except InputError:
        raise
    except Exception as error:  # every store has exceptions of its own
        raise InputError(
            f"cannot read recipe {reference}: {type(error).__name__}: {error}"
        ) from None


def _shipped() -> Traversable:
    """The folder of the recipes that ship: data that is installed with the jobs."""
    return resources.files("jobs") / "recipes"
