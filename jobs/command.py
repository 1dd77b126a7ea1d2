"""What all jobs have in common as commands.

Flags come from a dataclass and a recipe; an error is one line on stderr; the result is one line of
JSON, the last of stdout.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import jsonargparse

from cluster.connect import ConnectionFailedError
from pipeline import recipes, storage
from pipeline.errors import InputError
from pipeline.progress import log_to_stderr

log = logging.getLogger("unreasonable")

# Exit statuses. 2 is also what argparse gives; 130 is what a shell gives after Ctrl-C.
BAD_INPUT = 2
INTERRUPTED = 130

C = TypeVar("C")
# From a recipe, the root and the command line to the recipe that the job really starts from.
Revise = Callable[[dict[str, Any], str, list[str]], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every job is told beside its settings: where everything is kept, and the recipe.

    `flags` are those that belong to no recipe, by name.
    """

    root: str
    recipe: dict[str, Any]
    flags: dict[str, Any]

    def section(self, name: str, config_class: type[C]) -> C:
        """Another section of the recipe as its dataclass, for jobs that run more than one stage."""
        return _parse_section(name, config_class, self.recipe)

    @property
    def recipe_name(self) -> str:
        return str(self.recipe["name"])


def announce(section: str, config: Any) -> None:
    """Log the resolved settings, once the input has been checked."""
    log.info("%s: %s", section, json.dumps(dataclasses.asdict(config), sort_keys=True))


class Parser(jsonargparse.ArgumentParser):  # type: ignore[misc, unused-ignore]
    """A parser whose errors are one line and exit status 2.

    Abbreviated flags are unknown flags: a typo must not choose one.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        del ex  # the message says what it says
        # jsonargparse calls a flag a "Parser key", and writes over several lines.
        one_line = " ".join(str(message).replace("Parser key", "option").split())
        fail(f"{one_line}. See --help.")


def fail(message: str) -> NoReturn:
    """One clear line on stderr and exit status 2."""
    one_line = " ".join(message.split())
    print(f"error: {one_line}", file=sys.stderr, flush=True)
    raise SystemExit(BAD_INPUT)


def run_command(
    description: str,
    section: str,
    config_class: type[C],
    run: Callable[[C, Common], dict[str, Any]],
    argv: list[str] | None = None,
    extra: Callable[[Parser], None] | None = None,
    instead: Mapping[str, Callable[[dict[str, Any], Common], dict[str, Any]]] | None = None,
    revise: Revise = lambda recipe, root, argv: recipe,
) -> None:
    """Parse the command line, run the job, print its result as one JSON line on stdout.

    Flags are the fields of `config_class`, and their defaults are the recipe's section `section`.
    `extra` adds flags that belong to no recipe; they arrive in Common.flags. A flag that `instead`
    names runs its function, on the parsed values, in place of the job. `revise` may put other
    settings in the recipe's place before flags are looked at.

    Bad input ends with one line on stderr and exit status 2, and a job that was asked to stop (its
    result says `stopped`) with status 130.
    """

    def job() -> dict[str, Any]:
        values, common = _parse(description, section, config_class, argv, extra, revise)
        for flag, function in (instead or {}).items():
            if common.flags[flag]:
                return function(values, common)
        names = [field.name for field in dataclasses.fields(config_class)]  # type: ignore[arg-type]
        config = config_class(**{name: values[name] for name in names})
        return run(config, common)

    conclude(job)


def conclude(job: Callable[[], dict[str, Any]]) -> None:
    """Run a job, print its result as one JSON line, and end as `run_command` says.

    A result may name another `exit_status`.
    """
    log_to_stderr()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    try:
        result = job()
    except (InputError, ConnectionFailedError) as error:
        # What a Ray task raises arrives as an InputError too, but with a traceback for its text.
        fail(str(getattr(error, "cause", None) or error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        raise SystemExit(INTERRUPTED) from None
    print(json.dumps(result, sort_keys=True), flush=True)
    status = INTERRUPTED if result.get("stopped") else int(result.get("exit_status", 0))
    if status:
        raise SystemExit(status)


def show_table(lines: Sequence[tuple[str, ...]]) -> None:
    """Log lines of cells in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        log.info("%s", "  ".join(cells).rstrip())


def flag_value(argv: list[str], flag: str) -> str:
    """What a command line gives for a flag, before it is parsed; "" for nothing."""
    for index, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name == flag:
            return value if equals else next(iter(argv[index + 1 :]), "")
    return ""


def _parse(
    description: str,
    section: str,
    config_class: type[C],
    argv: list[str] | None,
    extra: Callable[[Parser], None] | None,
    revise: Revise,
) -> tuple[dict[str, Any], Common]:
    """All values of a command line by flag, and what is common to jobs.

    It is parsed twice: first for the recipe alone, whose settings are the second parser's defaults.
    """
    argv = _spelled_out(sys.argv[1:] if argv is None else argv, config_class)
    chosen = _recipe_parser(add_help=False).parse_args(_recipe_flags(argv))
    loaded = recipes.load_recipe(chosen.recipe, chosen.scale)
    recipe = revise(loaded, storage.root_url(chosen.root), argv)
    parser = _recipe_parser(description=description)
    if extra:
        extra(parser)
    own = [action.dest for action in parser._actions]  # before the section's flags join them
    settings = _add_section(parser, section, config_class, recipe)
    values = parser.parse_args([*settings, *argv]).as_dict()
    flags = {name: values[name] for name in own if name in values}
    return values, Common(root=storage.root_url(values["root"]), recipe=recipe, flags=flags)


def _spelled_out(argv: list[str], config_class: type[Any]) -> list[str]:
    """The command line with a value behind every flag that may stand alone.

    `--overwrite` is `--overwrite true`; other such flags name their value in their field.
    """
    fields = dataclasses.fields(config_class)
    alone = {f"--{field.name}": "true" for field in fields if field.type in (bool, "bool")}
    for field in fields:
        if "bare" in field.metadata:
            alone[f"--{field.name}"] = field.metadata["bare"]
    spelled = []
    for index, argument in enumerate(argv):
        spelled.append(argument)
        has_value = index + 1 < len(argv) and not argv[index + 1].startswith("--")
        if argument in alone and not has_value:
            spelled.append(alone[argument])
    return spelled


def _recipe_flags(argv: list[str]) -> list[str]:
    """The part of a command line that names recipe, scale and root.

    They decide the defaults of all other flags, so they are looked for before the rest is parsed.
    """
    chosen = []
    for index, argument in enumerate(argv):
        name, equals, _ = argument.partition("=")
        if name in ("--recipe", "--scale", "--root"):
            chosen += [argument] if equals else argv[index : index + 2]
    return chosen


def _recipe_parser(description: str = "", add_help: bool = True) -> Parser:
    parser = Parser(description=description, add_help=add_help)

    def option(flag: str, default: str, about: str) -> None:
        parser.add_argument(flag, type=str, default=default, help=about)

    option("--recipe", recipes.DEFAULT, "recipe: a name, a path or a URL")
    option("--scale", "", "a scale of the recipe, such as small or post")
    option("--root", storage.default_root(), "where everything is kept: an fsspec URL")
    return parser


def _add_section(
    parser: Parser, section: str, config_class: type[Any], recipe: dict[str, Any]
) -> list[str]:
    """Add the dataclass's flags; returns the recipe's settings as flags too.

    They stand before a person's own on the command line, which are parsed later and win.
    """
    parser.add_class_arguments(config_class, None)
    settings = recipe[section]
    known = {field.name for field in dataclasses.fields(config_class)}
    unknown = ", ".join(sorted(set(settings) - known))
    if unknown:
        raise InputError(
            f"recipe {recipe['name']}: section {section} has no setting {unknown}. See --help."
        )
    parser.set_defaults(settings)  # what --help shows
    flags = []
    for name, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        flags.append(f"--{name}={text}")
    return flags


def _parse_section(section: str, config_class: type[C], recipe: dict[str, Any]) -> C:
    parser = Parser()
    settings = _add_section(parser, section, config_class, recipe)
    return config_class(**parser.parse_args(settings).as_dict())
