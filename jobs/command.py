"""A job as a command: a recipe's section as flags, one-line errors, one line of JSON.

A setting comes from its default, the recipe, its scale, SECTION.SETTING=VALUE, or its flag; the
later one wins. All of them go through pipeline/settings.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cluster.connect import say_root
from jobs.arguments import Parser
from jobs.ending import conclude, fail, show_table
from jobs.flags import add_section
from jobs.job_parser import OVERRIDES, JobParser, add_common, add_short
from jobs.overrides import read_overrides
from pipeline import recipes, storage, yaml_files
from pipeline.settings import Settings, configured, over, read

__all__ = ["Common", "Job", "Parser", "announce", "conclude", "fail", "late", "show_table"]

log = logging.getLogger("unreasonable")

C = TypeVar("C")
# From a recipe, the root and the settings of the job's section to the recipe that it starts from.
Revise = Callable[[dict[str, Any], str, Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every job is told beside its settings: where everything is kept, and the recipe.

    `flags` are those that belong to no recipe, by name. `changed` are the sections, beside the
    job's own flags, in which the command line changed a setting.
    """

    root: str
    recipe: dict[str, Any]
    flags: dict[str, Any]
    changed: frozenset[str] = frozenset()

    def section(self, name: str, config_class: type[C]) -> C:
        """Another section of the recipe as its dataclass, for jobs that run more than one stage."""
        return configured(config_class, self.recipe[name], name)

    @property
    def recipe_name(self) -> str:
        return str(self.recipe["name"])


@dataclass(frozen=True, kw_only=True)
class Job(Generic[C]):
    """A job: its flags are the fields of `config_class`, whose defaults are a recipe's `section`.

    `extra` adds flags that belong to no recipe; they arrive in Common.flags. A flag that `instead`
    names runs its function, on the read values, in place of the job. `revise` may put other
    settings in the recipe's place. `also` are the other sections that the job reads, and `short`
    the settings of these (`corpus.source`) that have a flag of their own name too. With `plan`
    there is --dry_run, which runs it in place of the job.
    """

    description: str
    section: str
    config_class: type[C]
    run: Callable[[C, Common], dict[str, Any]]
    extra: Callable[[Parser], None] | None = None
    instead: Mapping[str, Callable[[dict[str, Any], Common], dict[str, Any]]] = field(
        default_factory=dict
    )
    revise: Revise = lambda recipe, root, settings: recipe
    also: Mapping[str, type[Any]] = field(default_factory=dict)
    short: tuple[str, ...] = ()
    plan: Callable[[C, Common], dict[str, Any]] | None = None

    @property
    def sections(self) -> dict[str, type[Any]]:
        """The sections that the job reads. One without a setting cannot be changed, or printed."""
        sections = {self.section: self.config_class, **self.also}
        return {name: each for name, each in sections.items() if dataclasses.fields(each)}

    def main(self, argv: list[str] | None = None) -> None:
        """Parse the command line, run the job, print its result, and end (jobs/ending.py)."""
        arguments = sys.argv[1:] if argv is None else argv
        conclude(lambda: self._result(arguments))

    def parser(self, recipe: Mapping[str, Any] | None = None) -> Parser:
        """The job's parser. `recipe` gives the defaults that --help shows."""
        shown = recipe or {}
        parser = JobParser(self.description, self.section, self.sections)
        add_common(parser, has_plan=self.plan is not None)
        if self.extra:
            self.extra(parser)
        add_short(parser, self.also, self.short, shown)
        add_section(parser, self.config_class, shown.get(self.section, {}))
        return parser

    def _result(self, argv: list[str]) -> dict[str, Any] | None:
        if {"-h", "--help"} & set(argv):
            self._help(argv)
            return None
        values = self.parser().parse_intermixed_args(argv, argparse.Namespace())
        given = dict(vars(values))
        settings, common = self._settings(given)
        say_root(common.root, argv)
        for flag, function in self.instead.items():
            if common.flags[flag]:
                return function(read(self.config_class, settings, self.section), common)
        config = configured(self.config_class, settings, self.section)
        if given["print_config"]:
            print(self._printed(config, common), end="", flush=True)
            return None
        if self.plan and given["dry_run"]:
            return self.plan(config, common)
        return self.run(config, common)

    def _settings(self, given: dict[str, Any]) -> tuple[Settings, Common]:
        """The settings of the job's section, and what is common to jobs."""
        root = storage.root_url(given["root"])
        changes = read_overrides(given.pop(OVERRIDES), self.sections)
        for path in self.short:
            section, _, name = path.partition(".")
            if path in given:
                flag = Settings.of_texts({name: given.pop(path)}, f"--{name}")
                changes[section] = over(changes.get(section, {}), flag)
        for section, settings in changes.items():
            read(self.sections[section], settings, section)  # refused before anything is loaded
        names = {each.name for each in dataclasses.fields(self.config_class)}  # type: ignore[arg-type]
        own = Settings.of_texts({name: given[name] for name in names if name in given})
        recipe = recipes.load_recipe(given["recipe"], given["scale"], changes)
        checked = read(self.config_class, over(recipe[self.section], own), self.section)
        revised = self.revise(recipe, root, checked)
        if revised is not recipe:
            revised = recipes.changed(revised, changes)
        flags = {name: value for name, value in given.items() if name not in names}
        common = Common(root=root, recipe=revised, flags=flags, changed=frozenset(changes))
        return over(revised[self.section], own), common

    def _help(self, argv: list[str]) -> None:
        """Print --help with the defaults of the recipe that the command line names."""
        chooser = Parser()
        add_common(chooser, has_plan=False)
        chosen, _ = chooser.parse_known_args(
            [each for each in argv if each not in ("-h", "--help")]
        )
        self.parser(recipes.load_recipe(chosen.recipe, chosen.scale)).print_help()

    def _printed(self, config: C, common: Common) -> str:
        """A recipe that gives this run: every section that the job reads, with every setting."""
        printed: dict[str, Any] = {"name": common.recipe_name}
        if common.recipe.get("kind"):
            printed["kind"] = common.recipe["kind"]
        for name, config_class in self.sections.items():
            # Of another section only the types are looked at: it may lack what its own job needs.
            printed[name] = read(config_class, common.recipe[name], name)
        if self.section in printed:
            printed[self.section] = dataclasses.asdict(config)  # type: ignore[call-overload]
        if self.section == "reproduce" and common.recipe.get("claims"):
            # Data beside the settings of their section.
            printed["reproduce"]["claims"] = [dict(each) for each in common.recipe["claims"]]
        return yaml_files.dump(printed)


def run_command(
    description: str,
    section: str,
    config_class: type[C],
    run: Callable[[C, Common], dict[str, Any]],
    argv: list[str] | None = None,
    **options: Any,
) -> None:
    """Run a job that is not kept as a Job."""
    Job(
        description=description, section=section, config_class=config_class, run=run, **options
    ).main(argv)


def late(module: str, name: str) -> Callable[..., dict[str, Any]]:
    """A function of a module that is imported when it is called."""

    def call(*arguments: Any) -> dict[str, Any]:
        result: dict[str, Any] = getattr(importlib.import_module(module), name)(*arguments)
        return result

    return call


def announce(section: str, config: Any) -> None:
    """Log the resolved settings, once the input has been checked."""
    log.info("%s: %s", section, json.dumps(dataclasses.asdict(config), sort_keys=True))
