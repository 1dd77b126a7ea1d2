"""Registered models: list | show | promote | compare | export | import.

A model is NAME (its champion, or its newest version), NAME@ALIAS, NAME/VERSION or models:/...
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobs.command import Parser, conclude, show_table
from pipeline import storage
from pipeline.errors import InputError
from pipeline.progress import duration

if TYPE_CHECKING:
    from pipeline.registry.models import Models

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

    if values["documents"] < 0:
        raise InputError(f"documents is {values['documents']}; it must be at least 0.")
    models = _registry(root)
    version = models.named(values["model"])
    origin = lineage(models, version, root, values["documents"])
    log.info("%s", version.description)
    return {
        **origin.to_json(),
        "parameters": parameters(models, version),
        "tags": version.tags,
    }


def promote(values: Values, root: str) -> dict[str, Any]:
    from pipeline.registry import catalogue

    models = _registry(root)
    result = catalogue.promote(models, models.named(values["model"]))
    log.info("%s is the champion; before: %s", result["model"], result["before"] or "none")
    return result


def compare(values: Values, root: str) -> dict[str, Any]:
    from pipeline.registry import catalogue

    models = _registry(root)
    one = models.named(values["one"])
    other = models.named(values["other"])
    result = catalogue.compare(models, one, other, root, values["corpus"])
    head = ("model", f"bits per byte, {result['text']}, {result['figures']}")
    scores = [(uri, f"{score:.4f}") for uri, score in result["val_bits_per_byte"].items()]
    show_table([head, *scores])
    return result


def export(values: Values, root: str) -> dict[str, Any]:
    from pipeline.registry.catalogue import export_model

    models = _registry(root)
    version = models.named(values["model"])
    result = export_model(models, version, root, storage.absolute(values["archive"]))
    log.info("%s: give its SHA-256 with it: %s", result["archive"], result["sha256"])
    return result


def import_(values: Values, root: str) -> dict[str, Any]:
    from pipeline.registry.catalogue import import_model

    archive = storage.absolute(values["archive"])
    version = import_model(_registry(root), archive, values["name"], values["sha256"])
    name = f"{version.name}/{version.version}"
    log.info(
        "registered as %s; no alias moved: python jobs/models.py promote %s", version.uri, name
    )
    return {"model": version.uri, "tags": version.tags}


def _registry(root: str) -> Models:
    # Late, as in each action: a wrong command line need not wait 2-3 s for mlflow.
    from pipeline.registry.models import Models
    from pipeline.registry.tracking import Tracking

    return Models(Tracking(root))


def _parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--root",
        type=str,
        default=storage.default_root(),
        help="where everything is kept: an fsspec URL",
    )
    actions = parser.add_subcommands(dest="action")

    def action(name: str, description: str) -> Parser:
        own = Parser(description=description)
        actions.add_subcommand(name, own, help=description)
        return own

    model: dict[str, Any] = {"type": str, "help": "NAME, NAME@ALIAS or NAME/VERSION"}
    action("list", "what is registered").add_argument(
        "name", nargs="?", default="", type=str, help="only this model's versions"
    )
    own = action("show", "a model's card, figures and lineage")
    own.add_argument("model", **model)
    own.add_argument(
        "--documents", type=int, default=10, help="source documents to show, with their digests"
    )
    action("promote", "make a version the champion").add_argument("model", **model)
    own = action("compare", "two versions on one validation text")
    own.add_argument("one", **model)
    own.add_argument("other", **model)
    own.add_argument("--corpus", type=str, default="", help="NAME or NAME@VERSION to score both on")
    own = action("export", "write a version as one archive")
    own.add_argument("model", **model)
    own.add_argument("archive", type=str, help="URL to write, such as linux-3.zip")
    own = action("import", "register an archive's model")
    own.add_argument("archive", type=str, help="URL of the archive")
    own.add_argument(
        "--name", type=str, default="", help="register under this name instead of its own"
    )
    own.add_argument(
        "--sha256", type=str, default="", help="refuse any archive but the one with this digest"
    )
    return parser


ACTIONS: dict[str, Callable[[Values, str], dict[str, Any]]] = {
    "list": show_list,
    "show": show,
    "promote": promote,
    "compare": compare,
    "export": export,
    "import": import_,
}


def main(argv: list[str] | None = None) -> None:
    def run() -> dict[str, Any]:
        values = _parser().parse_args(argv).as_dict()
        name = values["action"]
        # An action's own flags lie under its name.
        return ACTIONS[name](values[name], storage.root_url(values["root"]))

    conclude(run)


if __name__ == "__main__":
    main()
