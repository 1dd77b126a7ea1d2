"""Any body of text into character-level recurrent models, and models into text.

`unreasonable COMMAND ...` is `python jobs/COMMAND.py ...`. Only the chosen command is imported.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Any

from jobs.ending import fail
from jobs.version import version
from pipeline.settings import nearest


@dataclass(frozen=True)
class Command:
    """A module with a `main(argv)`, and what it does."""

    module: str
    about: str

    def load(self) -> Any:
        return importlib.import_module(self.module)


# A command is a line here.
COMMANDS = {
    "build-corpus": Command("jobs.build_corpus", "a corpus version from its sources"),
    "train": Command("jobs.train", "a model on a corpus: checkpoints, the best one registered"),
    "sample": Command("jobs.sample", "text files from a model"),
    "write": Command("jobs.write", "text from a model to the terminal, as it comes"),
    "evaluate": Command("jobs.evaluate", "how good models are on a text, beside compressors"),
    "explain": Command("jobs.explain", "what a model's cells track, and the model in a page"),
    "models": Command("jobs.models", "list, show, promote, compare, export and import models"),
    "reproduce": Command("jobs.reproduce", "a recipe from source to report"),
    "schedule": Command("jobs.schedule", "rebuild corpora on a calendar"),
    "completion": Command("jobs.completion", "a script that completes commands and flags"),
}


def main(argv: list[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if argv is None else argv)
    root = _taken_root(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return
    name, *rest = arguments
    if name == "--version":
        print(f"unreasonable {version()}")
        return
    command = COMMANDS.get(name.replace("_", "-"))
    if command is None:
        kind = "flag" if name.startswith("-") else "command"
        hint = nearest(name, COMMANDS)
        fail(f"there is no {kind} {name}; there are the commands {', '.join(COMMANDS)}.{hint}")
    # What usage and errors call the program.
    sys.argv[0] = f"unreasonable {name}"
    # Before the command's own arguments: a --root among them is the one that counts.
    command.load().main([*root, *rest])


def overview() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.about}" for name, command in COMMANDS.items()]
    head = (__doc__ or "").partition("\n")[0]
    return "\n".join(
        [
            "usage: unreasonable [--root URL] COMMAND ...",
            "",
            head,
            "",
            *lines,
            "",
            "unreasonable COMMAND --help says what each takes; unreasonable --version.",
        ]
    )


def _taken_root(arguments: list[str]) -> list[str]:
    """Take a --root in front of the command away; it is returned as flags."""
    if not arguments or not arguments[0].startswith("--root"):
        return []
    if arguments[0] == "--root":
        if len(arguments) < 2:
            fail("--root needs a URL.")
        taken = arguments[:2]
    elif arguments[0].startswith("--root="):
        taken = arguments[:1]
    else:
        return []
    del arguments[: len(taken)]
    return taken


if __name__ == "__main__":
    main()
