"""The command that the wheel installs: its table, and what it does before a command is imported."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

from jobs import models, unreasonable
from jobs.unreasonable import COMMANDS, main
from tests.jobs.conftest import HOUSE, refused


@pytest.fixture(autouse=True)
def _argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["unreasonable"])


def test_the_wheel_installs_it() -> None:
    scripts = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["unreasonable"].partition(":")
    assert getattr(import_module(module), function) is main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_called(name: str) -> None:
    assert callable(COMMANDS[name].load().main)


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["--root", "/r"]])
def test_without_a_command_it_shows_the_commands(
    capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    main(argv)
    shown = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in shown
        assert command.about in shown
    assert shown.startswith("usage: unreasonable [--root URL] COMMAND")


def test_the_version_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreasonable, "version", lambda: "1.2 (git abc)")
    main(["--version"])
    assert capsys.readouterr().out == "unreasonable 1.2 (git abc)\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "there is no command trian; there are the commands build-corpus, "),
        (["trian"], "Did you mean train?"),
        (["--rot", "x"], "there is no flag --rot"),
        (["--root"], "--root needs a URL."),
        (["train", "--sed", "1"], "Did you mean --seed?"),
        (["models", "explode"], "explode"),
    ],
)
def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert message in refused(capsys, lambda: main(argv))


@pytest.mark.parametrize(
    ("argv", "root"),
    [
        (["--root", "/a", "build-corpus", "--list"], "/a"),
        (["--root=/a", "build_corpus", "--list"], "/a"),
        (["build-corpus", "--list", "--root", "/b"], "/b"),
        (["--root", "/a", "build-corpus", "--list", "--root", "/b"], "/b"),
    ],
)
def test_the_root_is_taken_before_and_after_a_command(
    capsys: pytest.CaptureFixture[str], argv: list[str], root: str
) -> None:
    main(argv)
    assert json.loads(capsys.readouterr().out)["root"] == root
    assert sys.argv[0] in ("unreasonable build-corpus", "unreasonable build_corpus")


@pytest.mark.parametrize(
    ("argv", "root"),
    [
        (["--root", "/a", "models", "list"], "/a"),
        (["models", "--root", "/a", "list"], "/a"),
        (["models", "list", "--root", "/a"], "/a"),
        (["--root", "/z", "models", "--root", "/y", "list", "--root", "/a"], "/a"),
    ],
)
def test_models_takes_the_root_on_either_side_of_its_action(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    root: str,
) -> None:
    monkeypatch.setitem(models.ACTIONS, "list", lambda values, at: {"root": at})
    main(argv)
    assert json.loads(capsys.readouterr().out) == {"root": root}


def test_only_the_chosen_command_is_imported() -> None:
    code = (
        "import sys; from jobs.unreasonable import main; main(['--version']); "
        "heavy = {'jobs.command', 'pyarrow', 'torch', 'ray', 'mlflow', 'numpy'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr
