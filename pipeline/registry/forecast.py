"""What an action on registered models would do, read from the registry and nothing else."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline import storage
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import InputError
from pipeline.estimates import check_could_write
from pipeline.registry.looking import registry


@dataclass(frozen=True, kw_only=True)
class ModelsForecast:
    """One action: the versions it names, what would come of it, and what it would replace.

    `changes` is false for actions that only read.
    """

    action: str
    models: tuple[str, ...]
    changes: bool
    does: str
    replaces: str | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def forecast(action: str, values: dict[str, Any], root: str) -> ModelsForecast:
    """What `models.py ACTION` would do with these flags. Raises the InputErrors of the action."""
    known = {
        "list": _list,
        "show": _show,
        "promote": _promote,
        "compare": _compare,
        "export": _export,
        "import": _import,
    }
    return known[action](values, root)


def _list(values: dict[str, Any], root: str) -> ModelsForecast:
    which = values["name"] or "all models"
    return ModelsForecast(
        action="list", models=(), changes=False, does=f"lists versions of {which} under {root}"
    )


def _show(values: dict[str, Any], root: str) -> ModelsForecast:
    _, version = _named(values["model"], root)
    return ModelsForecast(
        action="show",
        models=(version.uri,),
        changes=False,
        does=f"shows card, lineage and {values['documents']} documents of {version.uri}",
    )


def _promote(values: dict[str, Any], root: str) -> ModelsForecast:
    models, version = _named(values["model"], root)
    before = models.champion(version.name)
    is_champion = before is not None and before.uri == version.uri
    does = "nothing: it is the champion" if is_champion else f"makes {version.uri} the champion"
    return ModelsForecast(
        action="promote",
        models=(version.uri,),
        changes=not is_champion,
        does=does,
        replaces=before.uri if before and not is_champion else None,
    )


def _compare(values: dict[str, Any], root: str) -> ModelsForecast:
    _, one = _named(values["one"], root)
    _, other = _named(values["other"], root)
    # The rule of catalogue.compare.
    same_text = one.tags.get("corpus_fingerprint") == other.tags.get("corpus_fingerprint")
    if same_text and not values["corpus"]:
        does = f"compares registered figures on val of {one.tags.get('corpus', '?')}"
    else:
        reference = values["corpus"] or one.tags["corpus"].partition("@")[0]
        opened = open_corpus(root, reference)
        tokens = opened.tokens_in("val")
        does = f"scores both on {tokens:,} val tokens of {opened.name}@{opened.version}"
    return ModelsForecast(action="compare", models=(one.uri, other.uri), changes=False, does=does)


def _export(values: dict[str, Any], root: str) -> ModelsForecast:
    models, version = _named(values["model"], root)
    archive = storage.absolute(values["archive"])
    check_could_write(os.path.dirname(archive), option="URL")
    size = sum(len(data) for data in models.download(version).values())
    return ModelsForecast(
        action="export",
        models=(version.uri,),
        changes=True,
        does=f"writes {version.uri} to {archive}, about {size:,} bytes",
        replaces=archive if storage.exists(archive) else None,
    )


def _import(values: dict[str, Any], root: str) -> ModelsForecast:
    # Late: it imports mlflow.
    from pipeline.registry.archive import read_archive
    from pipeline.registry.names import check_name

    archive = storage.absolute(values["archive"])
    carried = read_archive(archive, values["sha256"])
    name = values["name"] or carried.name
    check_name(name)
    check_could_write(root)
    models = registry(root)
    numbers = [version.number for version in models.versions_of(name)] if models else []
    uri = f"models:/{name}/{max(numbers, default=0) + 1}"
    return ModelsForecast(
        action="import",
        models=(uri,),
        changes=True,
        does=f"registers {carried.name}/{carried.version} of {archive} as {uri}; no alias moves",
        facts={"weights_bytes": str(len(carried.files["weights.safetensors"]))},
    )


def _named(reference: str, root: str) -> tuple[Any, Any]:
    """The registry and a version in it; InputError where nothing is registered at all."""
    models = registry(root)
    if models is None:
        raise InputError(f"no model {reference}: nothing is registered under {root}.")
    return models, models.named(reference)
