"""What all jobs have in common: flags and a recipe into settings, one line of error or of JSON."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cluster.connect import ConnectionFailedError
from jobs import command
from jobs.command import Common, Parser, conclude, flag_value, run_command, show_table
from pipeline.errors import DamagedError, InputError

RECIPE = """
corpus: {name: mine}
train: {corpus: other, size: 3}
sample: {ratio: 0.5, bold: true}
scales: {post: {train: {size: 99}}}
"""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The settings of a job that there is not."""

    corpus: str
    """what to read"""
    size: int = 1
    """how much of it"""
    bold: bool = False
    """whether to dare"""
    lines: int = field(default=0, metadata={"bare": "100"})
    """how many"""

    def __post_init__(self) -> None:
        if self.size < 0:
            raise InputError(f"size is {self.size}; it must be at least 0.")


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    model: str
    ratio: float = 1.0
    bold: bool = False


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    return str(path)


Ran = tuple[TrainSettings, Common]


@pytest.fixture
def ran(recipe: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a job on a command line; what it was called with."""

    def ran(*argv: str, **options: Any) -> Ran:
        seen: list[Ran] = []

        def job(config: TrainSettings, common: Common) -> dict[str, Any]:
            seen.append((config, common))
            return {"b": 1, "a": "\u00e9"}

        run_command("about", "train", TrainSettings, job, ["--recipe", recipe, *argv], **options)
        assert capsys.readouterr().out == '{"a": "\\u00e9", "b": 1}\n'
        return seen[0]

    return ran


def refused(capsys: pytest.CaptureFixture[str], run: Callable[[], object]) -> str:
    """The one line with which a job refuses; nothing is on stdout, and the status is 2."""
    with pytest.raises(SystemExit) as ended:
        run()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (2, "")
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1, shown.err
    return shown.err.rstrip("\n").removeprefix("error: ")


# Flags and recipes.


def test_a_flag_wins_over_the_scale_the_recipe_and_the_default(ran: Callable[..., Ran]) -> None:
    assert ran()[0] == TrainSettings(corpus="other", size=3)
    assert ran("--scale", "post")[0].size == 99
    assert ran("--scale=post", "--size", "7")[0].size == 7
    assert ran("--size=7", "--corpus", "x")[0] == TrainSettings(corpus="x", size=7)


@pytest.mark.parametrize(
    ("argv", "bold", "lines"),
    [
        (["--bold"], True, 0),
        (["--bold", "--size", "2"], True, 0),
        (["--bold", "false"], False, 0),
        (["--bold=true"], True, 0),
        (["--lines"], False, 100),
        (["--lines", "--bold"], True, 100),
        (["--lines", "7"], False, 7),
    ],
)
def test_some_flags_may_stand_alone(
    ran: Callable[..., Ran], argv: list[str], bold: bool, lines: int
) -> None:
    config, _ = ran(*argv)
    assert (config.bold, config.lines) == (bold, lines)


def test_a_job_is_told_the_root_and_the_recipe(
    ran: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, common = ran()
    assert common.root == os.environ["UNREASONABLE_ROOT"]
    assert common.recipe_name == "mine"
    assert common.recipe["train"] == {"corpus": "other", "size": 3}
    assert common.flags["root"] == common.root
    assert set(common.flags) >= {"recipe", "scale", "root"}
    assert "size" not in common.flags
    monkeypatch.chdir(tmp_path)
    assert ran("--root", "here")[1].root == str(tmp_path / "here")


def test_a_job_of_several_stages_reads_their_sections(ran: Callable[..., Ran]) -> None:
    _, common = ran("--size", "7")
    assert common.section("train", TrainSettings).size == 3  # the recipe's, not the flags'
    assert common.section("sample", SampleSettings) == SampleSettings(
        model="models:/mine@champion", ratio=0.5, bold=True
    )
    common.recipe["sample"]["colour"] = "red"
    with pytest.raises(InputError, match="section sample has no setting colour"):
        common.section("sample", SampleSettings)


def test_flags_that_belong_to_no_recipe_arrive_beside_it(ran: Callable[..., Ran]) -> None:
    def extra(parser: Parser) -> None:
        parser.add_argument("--force", action="store_true", help="do")
        parser.add_argument("--keep", type=int, default=3, help="so many")

    config, common = ran("--force", "--size", "7", extra=extra)
    assert (common.flags["force"], common.flags["keep"]) == (True, 3)
    assert config.size == 7


def test_a_flag_may_run_something_else_in_the_jobs_place(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def extra(parser: Parser) -> None:
        for flag in ("--list", "--verify"):
            parser.add_argument(flag, action="store_true", help="do")

    def job(config: TrainSettings, common: Common) -> dict[str, Any]:
        return {"did": "job"}

    instead = {
        "list": lambda values, common: {"did": "list", "size": values["size"]},
        "verify": lambda values, common: {"did": "verify", "root": common.root},
    }

    def did(*argv: str) -> dict[str, Any]:
        given = ["--recipe", recipe, "--root", "/r", *argv]
        run_command("about", "train", TrainSettings, job, given, extra=extra, instead=instead)
        return json.loads(capsys.readouterr().out)

    assert did() == {"did": "job"}
    assert did("--list", "--size", "7") == {"did": "list", "size": 7}
    assert did("--verify") == {"did": "verify", "root": "/r"}
    # What is run instead does not need settings that would be refused.
    assert did("--list", "--size", "-1") == {"did": "list", "size": -1}


def test_a_job_may_put_other_settings_in_the_recipes_place(ran: Callable[..., Ran]) -> None:
    seen: list[Any] = []

    def revise(recipe: dict[str, Any], root: str, argv: list[str]) -> dict[str, Any]:
        seen.extend([root, flag_value(argv, "--size")])
        return {**recipe, "name": "revised", "train": {"corpus": "old", "size": 5}}

    config, common = ran("--root", "/r", "--bold", revise=revise)
    assert config == TrainSettings(corpus="old", size=5, bold=True)
    assert common.recipe_name == "revised"
    assert seen == ["/r", ""]
    assert ran("--size", "7", revise=revise)[0].size == 7


def test_help_shows_the_recipes_settings(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    def job(config: TrainSettings, common: Common) -> dict[str, Any]:
        raise AssertionError

    with pytest.raises(SystemExit) as ended:
        run_command("about it", "train", TrainSettings, job, ["--recipe", recipe, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    for part in (
        "about it",
        "--recipe",
        "--scale",
        "--root",
        "--size SIZE (type: int, default: 3)",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--no_such_flag", "1"], r"no_such_flag.*See --help\."),
        (["--siz", "1"], "siz"),  # an abbreviated flag is an unknown flag
        (["--rec", "x"], "rec"),
        (["--size", "two"], "size"),
        (["--size", "-1"], r"^size is -1; it must be at least 0\.$"),
        (["--bold", "perhaps"], "bold"),
        (["--scale", "nope"], "no scale 'nope'"),
        (["--size"], "size"),
    ],
)
def test_bad_input_is_one_line_and_status_two(
    recipe: str, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    def job(config: TrainSettings, common: Common) -> dict[str, Any]:
        raise AssertionError

    given = ["--recipe", recipe, *argv]
    line = refused(capsys, lambda: run_command("", "train", TrainSettings, job, given))
    assert re.search(message, line), line
    assert "Parser key" not in line


def test_a_recipes_settings_are_checked_like_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def line(settings: str) -> str:
        path = tmp_path / "bad.yaml"
        path.write_text(f"train: {{corpus: x, {settings}}}")
        given = ["--recipe", str(path)]
        return refused(
            capsys,
            lambda: run_command("", "train", TrainSettings, lambda config, common: {}, given),
        )

    assert line("sise: 3, color: red") == (
        "recipe bad: section train has no setting color, sise. See --help."
    )
    assert line("size: -3") == "size is -3; it must be at least 0."


def test_the_command_line_of_the_process_is_read_when_none_is_given(
    recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["job.py", "--recipe", recipe, "--size", "7"])
    run_command("", "train", TrainSettings, lambda config, common: {"size": config.size})
    assert json.loads(capsys.readouterr().out) == {"size": 7}


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--resume", "x", "--size", "2"], "x"),
        (["--size", "2", "--resume=y"], "y"),
        (["--resume=a=b"], "a=b"),
        (["--resume"], ""),
        (["--resumed", "x"], ""),
        (["--resume=", "x"], ""),
        ([], ""),
    ],
)
def test_a_flag_can_be_looked_for_before_all_is_parsed(argv: list[str], value: str) -> None:
    assert flag_value(argv, "--resume") == value


def test_settings_are_announced_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "unreasonable"):
        command.announce("train", TrainSettings(corpus="x"))
    (record,) = caplog.records
    assert record.getMessage() == ('train: {"bold": false, "corpus": "x", "lines": 0, "size": 1}')
