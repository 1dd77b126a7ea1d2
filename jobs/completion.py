"""Print a script for bash or zsh that completes commands, flags and their choices.

eval "$(unreasonable completion bash)"        # or into a file that the shell reads at its start
"""

from __future__ import annotations

import argparse

from jobs.arguments import Parser
from pipeline.recipes import recipe_names

SHELLS = ("bash", "zsh")


def parser() -> Parser:
    own = Parser(description=__doc__)
    own.add_argument("shell", choices=SHELLS, help="the shell that reads it")
    return own


def main(argv: list[str] | None = None) -> None:
    import shtab

    shell = parser().parse_args(argv).shell
    print(shtab.complete(whole(), shell=shell, root_prefix="unreasonable"))


def whole() -> argparse.ArgumentParser:
    """All commands in one parser, which only completion needs."""
    from jobs.unreasonable import COMMANDS

    top = argparse.ArgumentParser(prog="unreasonable")
    top.add_argument("--version", action="store_true", help="the version, and the git commit")
    top.add_argument("--root", help="where everything is kept: an fsspec URL")
    commands = top.add_subparsers()
    for name, command in COMMANDS.items():
        module = command.load()
        job = getattr(module, "JOB", module)
        own = job.parser() if hasattr(job, "parser") else argparse.ArgumentParser()
        _offer_choices(own)
        # argparse knows no public way to add a parser that is made already; shtab reads these two.
        commands._name_parser_map[name] = own
        commands._choices_actions.append(commands._ChoicesPseudoAction(name, (), command.about))
    return top


def _offer_choices(parser: argparse.ArgumentParser) -> None:
    """Words that a flag takes: --help shows them, and pipeline/settings.py checks them."""
    for action in parser._actions:
        if isinstance(action.metavar, str) and action.metavar.startswith("{"):
            action.choices = action.metavar.strip("{}").split(",")
        if action.dest == "recipe":
            action.choices = recipe_names()
