"""A parser whose errors are one line, and whose help is one short entry a flag.

It is argparse with our manners. jsonargparse, which was here before, read values by rules of its
own, beside those of pipeline/settings.py: two checkers that disagreed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from jobs.ending import fail
from pipeline import kinds, storage
from pipeline.settings import nearest


class Values(argparse.Namespace):
    """What a command line gave, by flag."""

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and exit status 2.

    Abbreviated flags are unknown flags: a typo must not choose one.
    """

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", Help)
        super().__init__(allow_abbrev=False, add_help=False, **options)
        self._optionals.title = "the command"
        self._positionals.title = "what it is about"
        self.add_argument("-h", "--help", action="help", help="show this help")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        return super().parse_args(args, namespace or Values())

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (--[^ =]+)", message)
        hint = self.suggestion(unknown[1]) if unknown else ""
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice:
            hint = nearest(choice[1], re.findall(r"'([^']*)'", choice[2]))
        fail(f"{message}.{hint} See --help.")

    def suggestion(self, flag: str) -> str:
        """What may have been meant by a flag that there is not."""
        return nearest(
            flag, [option for action in self._actions for option in action.option_strings]
        )

    def add_count(self, flag: str, default: int, about: str, least: int = 0) -> None:
        """A flag that is a whole number, as settings are: 1e3 and 16k too."""

        def count(text: str) -> int:
            try:
                value = kinds.read(int, text)
            except ValueError:
                value = least - 1
            if value < least:
                needed = f"a whole number of at least {least}"
                raise argparse.ArgumentTypeError(f"{text!r} is not {needed}")
            return int(value)

        self.add_argument(
            flag, type=count, default=default, metavar="N", help=f"{about} (default: {default})"
        )

    def add_root(self, default: Any = None) -> None:
        """--root, which every command takes."""
        self.add_argument(
            "--root",
            metavar="URL",
            default=storage.default_root() if default is None else default,
            help=f"where everything is kept: an fsspec URL (default: {storage.default_root()})",
        )


class Help(argparse.HelpFormatter):
    """Help whose texts are taken as they are, and whose usage does not list all flags again."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _expand_help(self, action: argparse.Action) -> str:
        return action.help or ""  # a % is a %

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        # A switch takes `true` or `false` too, but nobody needs to read that at every switch.
        if action.metavar == "":
            return ""
        if action.option_strings and action.nargs == "?":
            return f"[{action.metavar}]"
        return super()._format_args(action, default_metavar)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return super()._format_action_invocation(action).rstrip()
