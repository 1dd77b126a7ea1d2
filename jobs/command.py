"""What all jobs have in common as commands: flags from a dataclass and a recipe, one-line errors, the JSON line at the end."""

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

BAD_INPUT, INTERRUPTED = 2, 130  # exit statuses
C = TypeVar("C")
Revise = Callable[
    [dict[str, Any], str, list[str]], dict[str, Any]
]  # (recipe, root, command line) -> recipe


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every job is told: where everything is kept, and the recipe."""

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
    """A parser whose errors are one line and status 2. Abbreviated flags are unknown flags: a typo must not choose one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        del ex
        fail(" ".join(str(message).replace("Parser key", "option").split()) + ". See --help.")


def fail(message: str) -> NoReturn:
    """One clear line on stderr and exit status 2."""
    print(f"error: {message}", file=sys.stderr, flush=True)
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

    Flags are the fields of `config_class`, their defaults the recipe's section `section`. `extra` adds flags that belong
    to no recipe; they arrive in Common.flags. A flag named in `instead` runs that function, on the parsed values, in
    place of the job. `revise` may put other settings in the recipe's place before flags are looked at. Bad input ends
    with one line on stderr and exit status 2; a job that was asked to stop (its result says `stopped`) with status 130.
    """

    def job() -> dict[str, Any]:
        values, common = _parse(description, section, config_class, argv, extra, revise)
        other = next(
            (function for flag, function in (instead or {}).items() if common.flags[flag]), None
        )
        if other:
            return other(values, common)
        names = [field.name for field in dataclasses.fields(config_class)]  # type: ignore[arg-type]
        return run(config_class(**{name: values[name] for name in names}), common)

    conclude(job)


def conclude(job: Callable[[], dict[str, Any]]) -> None:
    """Run a job, print its result as one JSON line, and end as jobs do: see `run_command`. A result may name `exit_status`."""
    log_to_stderr()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    try:
        result = job()
    except (InputError, ConnectionFailedError) as error:
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
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        log.info(
            "%s",
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(),
        )


def _parse(
    description: str,
    section: str,
    config_class: type[C],
    argv: list[str] | None,
    extra: Callable[[Parser], None] | None,
    revise: Revise,
) -> tuple[dict[str, Any], Common]:
    argv = _spelled_out(sys.argv[1:] if argv is None else argv, config_class)
    chosen = _recipe_parser(add_help=False).parse_args(_recipe_flags(argv))
    recipe = revise(
        recipes.load_recipe(chosen.recipe, chosen.scale), storage.absolute(chosen.root), argv
    )
    parser = _recipe_parser(description=description)
    if extra:
        extra(parser)
    own = [action.dest for action in parser._actions]
    settings = _add_section(parser, section, config_class, recipe)
    values = parser.parse_args([*settings, *argv]).as_dict()
    flags = {key: values[key] for key in own if key in values}
    return values, Common(root=storage.absolute(values["root"]), recipe=recipe, flags=flags)


def _spelled_out(argv: list[str], config_class: type[Any]) -> list[str]:
    """A flag that may stand alone gets its value: `--overwrite` is `--overwrite true`, others name theirs in their field."""
    fields = dataclasses.fields(config_class)
    switches = {f"--{field.name}": "true" for field in fields if field.type in (bool, "bool")}
    switches |= {
        f"--{field.name}": field.metadata["bare"] for field in fields if "bare" in field.metadata
    }
    spelled = []
    for index, argument in enumerate(argv):
        spelled.append(argument)
        if argument in switches and (index + 1 == len(argv) or argv[index + 1].startswith("--")):
            spelled.append(switches[argument])
    return spelled


def _recipe_flags(argv: list[str]) -> list[str]:
    """The part of a command line that names recipe, scale and root: they decide the defaults of all other flags."""
    chosen = []
    for index, argument in enumerate(argv):
        name, equals, _ = argument.partition("=")
        if name in ("--recipe", "--scale", "--root"):
            chosen += [argument] if equals else argv[index : index + 2]
    return chosen


def flag_value(argv: list[str], flag: str) -> str:
    """What a command line gives for a flag, before it is parsed; "" for nothing."""
    for index, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name == flag:
            return value if equals else next(iter(argv[index + 1 :]), "")
    return ""


def _recipe_parser(description: str = "", add_help: bool = True) -> Parser:
    parser = Parser(description=description, add_help=add_help)
    parser.add_argument(
        "--recipe", type=str, default=recipes.DEFAULT, help="recipe: a name, a path or a URL"
    )
    parser.add_argument(
        "--scale", type=str, default="", help="a scale of the recipe, such as small or post"
    )
    parser.add_argument(
        "--root",
        type=str,
        default=storage.default_root(),
        help="where everything is kept: an fsspec URL",
    )
    return parser


def _add_section(
    parser: Parser, section: str, config_class: type[Any], recipe: dict[str, Any]
) -> list[str]:
    """Add the dataclass's flags; returns the recipe's settings as flags, to be parsed (and checked) before a person's own."""
    parser.add_class_arguments(config_class, None)
    fields = {field.name for field in dataclasses.fields(config_class)}
    unknown = sorted(set(recipe[section]) - fields)
    if unknown:
        raise InputError(
            f"recipe {recipe['name']}: section {section} has no setting {', '.join(unknown)}. See --help."
        )
    parser.set_defaults(recipe[section])  # what --help shows
    return [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in recipe[section].items()
    ]


def _parse_section(section: str, config_class: type[C], recipe: dict[str, Any]) -> C:
    parser = Parser()
    settings = _add_section(parser, section, config_class, recipe)
    return config_class(**parser.parse_args(settings).as_dict())
