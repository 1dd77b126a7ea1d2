"""Completion in a real shell."""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.completion import main, whole
from jobs.unreasonable import COMMANDS
from tests.jobs.conftest import refused

# What bash does at a TAB: it calls the function that `complete` was told, with the words.
BASH = """
. "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
rule=$(complete -p unreasonable)
function=${rule#*-F }
"${function%% *}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script for bash."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        main(["bash"])
    path = tmp_path_factory.mktemp("completion") / "unreasonable.bash"
    path.write_text(shown.getvalue())
    return path


def completed(script: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, "--norc", "-c", BASH, "bash", str(script), "unreasonable", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def test_bash_completes_commands_flags_and_choices(script: Path) -> None:
    assert completed(script, "") >= set(COMMANDS)
    assert completed(script, "re") == {"reproduce"}
    assert completed(script, "train", "--hid") == {"--hidden_size"}
    assert {"--source", "--max_steps", "--dry_run"} <= completed(script, "reproduce", "--")
    assert completed(script, "train", "--cell", "") == {"lstm", "gru", "rnn"}
    assert completed(script, "train", "--precision", "b") == {"bf16"}
    assert completed(script, "sample", "--recipe", "tiny") == {"tinyshakespeare"}
    assert {"list", "promote"} <= completed(script, "models", "")
    assert completed(script, "models", "show", "--doc") == {"--documents"}


def explained(parser: argparse.ArgumentParser, path: str) -> Iterator[str]:
    """The arguments of a parser and of its subcommands, each looked at for its sentence."""
    for action in parser._actions:
        name = f"{path} {'/'.join(action.option_strings) or action.dest}"
        if isinstance(action, argparse._SubParsersAction):
            for command, own in action.choices.items():
                yield from explained(own, f"{path} {command}")
            continue
        assert len((action.help or "").split()) > 1, name
        yield name


def test_every_argument_of_every_command_has_its_sentence() -> None:
    names = set(explained(whole(), "unreasonable"))
    for name in (
        "train --hidden_size",
        "reproduce --temperature",
        "schedule --run_now",
        "schedule --dry_run",
        "models export --dry_run",
        "models compare --corpus",
        "models list name",
    ):
        assert f"unreasonable {name}" in names


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'fish'" in refused(capsys, lambda: main(["fish"]))
