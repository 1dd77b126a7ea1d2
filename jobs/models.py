"""Registered models: list | show | promote | compare | export | import.

A model is NAME (its champion, or its newest version), NAME@ALIAS, NAME/VERSION or models:/...
"""

from __future__ import annotations

import argparse
from typing import Any

try:
    from jobs.arguments import Parser
except ModuleNotFoundError as missing:  # a Python without the package
    from uninstalled import refuse  # type: ignore[import-not-found]  # it lies beside this file

    refuse(missing)
from jobs.command import late
from jobs.ending import conclude
from jobs.model_actions import ACTIONS
from pipeline import storage

# The actions that change something, here or in the registry: these have --dry_run.
CHANGING = {"promote", "export", "import"}
models_plan = late("jobs.plans", "models_plan")


def parser() -> Parser:
    own = Parser(description=__doc__)
    own.add_root()
    actions = own.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    for name, description in (
        ("list", "what is registered"),
        ("show", "a model's card, figures and lineage"),
        ("promote", "make a version the champion"),
        ("compare", "two versions on one validation text"),
        ("export", "write a version as one archive"),
        ("import", "register an archive's model"),
    ):
        action = actions.add_parser(name, description=description, help=description)
        # Left out, it leaves the --root before the action alone.
        action.add_root(default=argparse.SUPPRESS)
        ARGUMENTS[name](action)
        if name in CHANGING:
            action.add_argument(
                "--dry_run", action="store_true", help="only say what would be done"
            )
    return own


def _add_list(action: Parser) -> None:
    action.add_argument(
        "name", nargs="?", default="", metavar="NAME", help="only this model's versions"
    )


def _add_model(action: Parser, name: str = "model") -> None:
    action.add_argument(name, metavar=name.upper(), help="NAME, NAME@ALIAS or NAME/VERSION")


def _add_show(action: Parser) -> None:
    _add_model(action)
    action.add_count("--documents", 10, "source documents to show, with their digests")


def _add_compare(action: Parser) -> None:
    _add_model(action, "one")
    _add_model(action, "other")
    action.add_argument(
        "--corpus", metavar="NAME", default="", help="NAME or NAME@VERSION to score both on"
    )


def _add_export(action: Parser) -> None:
    _add_model(action)
    action.add_argument("archive", metavar="ARCHIVE", help="URL to write, such as linux-3.zip")
    action.add_argument(
        "--page",
        action="store_true",
        help="write the model in a page beside it: linux-3.html, which writes and scores by itself",
    )


def _add_import(action: Parser) -> None:
    action.add_argument("archive", metavar="ARCHIVE", help="URL of the archive")
    action.add_argument(
        "--name", metavar="NAME", default="", help="register under this name instead of its own"
    )
    action.add_argument(
        "--sha256",
        metavar="DIGEST",
        default="",
        help="refuse any archive but the one of this digest",
    )


ARGUMENTS = {
    "list": _add_list,
    "show": _add_show,
    "promote": _add_model,
    "compare": _add_compare,
    "export": _add_export,
    "import": _add_import,
}


def run(values: dict[str, Any]) -> dict[str, Any]:
    root = storage.root_url(values["root"])
    if values.get("dry_run"):
        return models_plan(values, root)
    return ACTIONS[values["action"]](values, root)


def main(argv: list[str] | None = None) -> None:
    conclude(lambda: run(parser().parse_args(argv).as_dict()))


if __name__ == "__main__":
    main()
