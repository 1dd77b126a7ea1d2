"""The parser of a job of a recipe: what all such jobs take, besides their own settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jobs.arguments import Parser
from jobs.field_docs import field_docs
from jobs.flags import add_setting, field_of
from jobs.overrides import EXAMPLES, FORM
from pipeline import recipes

OVERRIDES = "overrides"  # where SECTION.SETTING=VALUE arrives
_NUMBERS = (
    "Numbers may be written as 1e3, 64k, 16M or 1G (powers of 1,000), or as Ki, Mi, Gi (of 1,024)."
)


class JobParser(Parser):
    """A parser that knows the settings of the sections that its job reads."""

    def __init__(self, description: str, section: str, sections: Mapping[str, type[Any]]) -> None:
        usage = f"%(prog)s [--FLAG VALUE ...] [{FORM} ...]"
        super().__init__(usage=usage, description=description, epilog=_NUMBERS)
        self.section = section
        self.sections = sections
        of = " and ".join(sections)
        such = ", ".join(EXAMPLES[name] for name in sections if name in EXAMPLES)
        self.add_argument(
            OVERRIDES, nargs="*", metavar=FORM, help=f"any setting of {of}, such as {such}"
        )

    def suggestion(self, flag: str) -> str:
        name = flag.removeprefix("--")
        for section, config_class in self.sections.items():
            names = {field.name for field in dataclasses.fields(config_class)}
            if section != self.section and name in names:
                return f" Did you mean {section}.{name}=VALUE?"
        return super().suggestion(flag)


def add_short(
    parser: Parser,
    sections: Mapping[str, type[Any]],
    paths: tuple[str, ...],
    shown: Mapping[str, Any],
) -> None:
    """A flag of its own name for settings of other sections, such as `corpus.source`."""
    if not paths:
        return
    group = parser.add_argument_group("what people change")
    for path in paths:
        section, _, name = path.partition(".")
        config_class = sections[section]
        field = field_of(config_class, name)
        docs = field_docs(config_class)
        add_setting(group, config_class, field, shown.get(section, {}), path, docs)


def add_common(parser: Parser, has_plan: bool) -> None:
    """The flags that every job of a recipe has."""
    parser.add_argument(
        "--recipe",
        metavar="RECIPE",
        default=recipes.DEFAULT,
        help=f"recipe: a name, a path or a URL (default: {recipes.DEFAULT})",
    )
    parser.add_argument(
        "--scale", metavar="NAME", default="", help="a scale of the recipe, such as small or post"
    )
    parser.add_root()
    parser.add_argument(
        "--print_config",
        action="store_true",
        help="only print a recipe that gives the same run, every setting in it",
    )
    if has_plan:
        parser.add_argument(
            "--dry_run",
            action="store_true",
            help="only say what would be done: sizes, steps, time, what is there already",
        )
