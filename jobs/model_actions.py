"""What jobs/models.py can do with registered models. Each action says it for people on stderr, and
returns the same for programs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobs.ending import plain, show_table
from pipeline import storage
from pipeline.hints import command
from pipeline.progress import duration

if TYPE_CHECKING:
    from pipeline.registry.models import Models, ModelVersion

log = logging.getLogger("unreasonable")

Values = dict[str, Any]


def show_list(values: Values, root: str) -> dict[str, Any]:
    from pipeline.registry.catalogue import list_models

    models = _registry(root)
    rows = list_models(models, values["name"])
    table = [("name", "version", "", "corpus", "bits per byte", "sampled in", "age")]
    for row in rows:
        figure = row.val_bits_per_byte
        table.append(
            (
                row.name,
                row.version,
                " ".join(row.aliases),
                row.corpus,
                "" if figure is None else f"{figure:.4f}",
                row.precision,
                duration(row.age_s),
            )
        )
    show_table(table)
    return {"tracking_uri": models.uri, "models": [row.to_json() for row in rows]}


def show(values: Values, root: str) -> dict[str, Any]:
    from pipeline.registry.catalogue import lineage, parameters

    models = _registry(root)
    version = models.named(values["model"])
    origin = lineage(models, version, root, values["documents"])
    log.info("%s", plain(version.description))
    return {
        **origin.to_json(),
        "parameters": parameters(models, version),
        "tags": version.tags,
    }


def promote(values: Values, root: str) -> dict[str, Any]:
    from pipeline.registry import catalogue

    models = _registry(root)
    result = catalogue.promote(models, models.named(values["model"]))
    log.info("%s is the champion; before: %s", result.model, result.before or "none")
    return result.to_json()


def compare(values: Values, root: str) -> dict[str, Any]:
    from pipeline.registry import catalogue

    models = _registry(root)
    one = models.named(values["one"])
    other = models.named(values["other"])
    result = catalogue.compare(models, one, other, root, values["corpus"])
    head = ("model", f"bits per byte, {result.text}, {result.figures}")
    scores = [(uri, f"{score:.4f}") for uri, score in result.val_bits_per_byte.items()]
    show_table([head, *scores])
    return result.to_json()


def export(values: Values, root: str) -> dict[str, Any]:
    from pipeline.registry.catalogue import export_model

    models = _registry(root)
    version = models.named(values["model"])
    archive = storage.absolute(values["archive"])
    page = _page(version, root) if values["page"] else None
    result = export_model(models, version, root, archive)
    log.info("%s: give its SHA-256 with it: %s", result.archive, result.sha256)
    if page is None:
        return result.to_json()
    url = f"{archive.removesuffix('.zip')}.html"
    storage.write_bytes(url, page)
    return result.to_json() | {"page": url, "page_bytes": len(page)}


def _page(version: ModelVersion, root: str) -> bytes:
    from pipeline.explaining.run import play_page
    from pipeline.registry.fetch import fetch_model

    return play_page(fetch_model(version.uri, root))


def import_(values: Values, root: str) -> dict[str, Any]:
    from pipeline.registry.catalogue import import_model

    archive = storage.absolute(values["archive"])
    version = import_model(_registry(root), archive, values["name"], values["sha256"])
    name = f"{version.name}/{version.version}"
    log.info(
        "registered as %s; no alias moved: %s %s", version.uri, command("models promote"), name
    )
    return {"model": version.uri, "tags": version.tags}


def _registry(root: str) -> Models:
    # Late, as in each action: a wrong command line need not wait 2-3 s for mlflow.
    from pipeline.registry.models import Models
    from pipeline.registry.tracking import Tracking

    return Models(Tracking(root))


ACTIONS: dict[str, Callable[[Values, str], dict[str, Any]]] = {
    "list": show_list,
    "show": show,
    "promote": promote,
    "compare": compare,
    "export": export,
    "import": import_,
}
