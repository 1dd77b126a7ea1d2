"""Registered models: list | show | promote | compare | export | import.

A model is NAME (its champion, or its newest version), NAME@ALIAS, NAME/VERSION or models:/...
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from jobs.command import Parser, conclude, show_table
from pipeline import storage
from pipeline.progress import duration

log = logging.getLogger("unreasonable")

Values = dict[str, Any]


def show_list(values: Values, root: str) -> dict[str, Any]:
    from pipeline.catalogue import rows
    from pipeline.registry import Registry

    registry = Registry(root)
    found = rows(registry, values["name"])
    table = [("name", "version", "", "corpus", "bits per byte", "sampled in", "age")]
    for row in found:
        score = "" if row["val_bits_per_byte"] is None else f"{row['val_bits_per_byte']:.4f}"
        aliases = " ".join(row["aliases"])
        table.append((row["name"], row["version"], aliases, row["corpus"], score, row["precision"], duration(row["age_s"])))
    show_table(table)
    return {"tracking_uri": registry.uri, "models": found}


def show(values: Values, root: str) -> dict[str, Any]:
    from pipeline.catalogue import lineage, parameters
    from pipeline.registry import Registry

    registry = Registry(root)
    version = registry.named(values["model"])
    origin = lineage(registry, version, root, values["documents"])
    log.info("%s", version.description)
    return {**origin, "parameters": parameters(registry, version), "tags": version.tags}


def promote(values: Values, root: str) -> dict[str, Any]:
    from pipeline import catalogue
    from pipeline.registry import Registry

    registry = Registry(root)
    result = catalogue.promote(registry, registry.named(values["model"]))
    log.info("%s is the champion; before: %s", result["model"], result["before"] or "none")
    return result


def compare(values: Values, root: str) -> dict[str, Any]:
    from pipeline import catalogue
    from pipeline.registry import Registry

    registry = Registry(root)
    one, other = (registry.named(values[key]) for key in ("one", "other"))
    result = catalogue.compare(registry, one, other, root, values["corpus"])
    show_table([("model", f"bits per byte, {result['text']}, {result['figures']}")] + [
        (uri, f"{score:.4f}") for uri, score in result["val_bits_per_byte"].items()
    ])  # fmt: skip
    return result


def export(values: Values, root: str) -> dict[str, Any]:
    from pipeline.catalogue import export_model
    from pipeline.registry import Registry

    registry = Registry(root)
    result = export_model(registry, registry.named(values["model"]), root, storage.absolute(values["archive"]))
    log.info("%s: give its SHA-256 with it: %s", result["archive"], result["sha256"])
    return result


def import_(values: Values, root: str) -> dict[str, Any]:
    from pipeline.catalogue import import_model
    from pipeline.registry import Registry

    version = import_model(Registry(root), storage.absolute(values["archive"]), values["name"], values["sha256"])
    log.info(
        "registered as %s; no alias moved: python jobs/models.py promote %s/%s", version.uri, version.name, version.version
    )
    return {"model": version.uri, "tags": version.tags}


def _parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("--root", type=str, default=storage.default_root(), help="where everything is kept: an fsspec URL")
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
    own.add_argument("--documents", type=int, default=10, help="source documents to show, with their digests")
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
    own.add_argument("--name", type=str, default="", help="register under this name instead of its own")
    own.add_argument("--sha256", type=str, default="", help="refuse any archive but the one with this digest")
    return parser


ACTIONS: dict[str, Callable[[Values, str], dict[str, Any]]] = {
    "list": show_list, "show": show, "promote": promote, "compare": compare, "export": export, "import": import_,
}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    def run() -> dict[str, Any]:
        values = _parser().parse_args(argv).as_dict()
        return ACTIONS[values["action"]](values[values["action"]], storage.absolute(values["root"]))

    conclude(run)


if __name__ == "__main__":
    main()
