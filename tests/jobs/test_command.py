"""What all jobs have in common: flags and a recipe into settings, one line of error or of JSON."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jobs import build_corpus, command, evaluate, explain, reproduce, sample, train
from jobs.command import Common, Job, Parser, late, run_command
from jobs.field_docs import field_docs
from pipeline import yaml_files
from pipeline.errors import InputError
from pipeline.recipes import load_recipe, recipe_names
from pipeline.settings import configured
from pipeline.training.config import TrainConfig, settings_digest
from tests.jobs.conftest import Run, refused

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

    def revise(recipe: dict[str, Any], root: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        seen.extend([root, settings["size"], settings.get("bold")])
        return {**recipe, "name": "revised", "train": {"corpus": "old", "size": 5}}

    config, common = ran("--root", "/r", "--bold", revise=revise)
    assert config == TrainSettings(corpus="old", size=5, bold=True)
    assert common.recipe_name == "revised"
    assert seen[:3] == ["/r", 3, True]
    assert ran("--size", "7", revise=revise)[0].size == 7


def test_help_shows_the_recipes_settings(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    def job(config: TrainSettings, common: Common) -> dict[str, Any]:
        raise AssertionError

    run_command("about it", "train", TrainSettings, job, ["--recipe", recipe, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for part in (
        "about it",
        "--recipe",
        "--scale",
        "--root",
        "--size N how much of it (default: 3)",
        "--bold whether to dare --lines",
        "--corpus TEXT what to read (default: other)",
        "train.max_steps=100",
        "16M",
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

    where = f"recipe {tmp_path / 'bad.yaml'}, line 1"
    assert line("sise: 3") == f"{where}: section train has no setting sise. Did you mean size?"
    assert line("x: 1") == f"{where}: section train has no setting x. See --help."
    assert line("size: -3") == f"{where}: train.size is -3; it must be at least 0."
    assert line("size: two").startswith(f"{where}: train.size is 'two'; it must be a whole number")
    assert line("bold: maybe") == f"{where}: train.bold is 'maybe'; it must be true or false."
    assert line("corpus: ").endswith("corpus was there before: " + where + ".")


def test_the_command_line_of_the_process_is_read_when_none_is_given(
    recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["job.py", "--recipe", recipe, "--size", "7"])
    run_command("", "train", TrainSettings, lambda config, common: {"size": config.size})
    assert json.loads(capsys.readouterr().out) == {"size": 7}


def test_settings_are_announced_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "unreasonable"):
        command.announce("train", TrainSettings(corpus="x"))
    (record,) = caplog.records
    assert record.getMessage() == ('train: {"bold": false, "corpus": "x", "lines": 0, "size": 1}')


# Any setting of any section.


def several(recipe: str, argv: list[str], **options: Any) -> tuple[Any, Common]:
    """Run a job that reads two sections."""
    seen: list[Any] = []

    def job(config: TrainSettings, common: Common) -> dict[str, Any]:
        seen.append((config, common))
        return {}

    also = {"sample": SampleSettings}
    own = Job(
        description="", section="train", config_class=TrainSettings, run=job, also=also, **options
    )
    own.main(["--recipe", recipe, *argv])
    return seen[0]


def test_any_setting_of_any_section_can_be_changed(recipe: str) -> None:
    argv = ["sample.ratio=1e-1", "--bold", "--size", "5", "train.lines=1k", "train.size=9"]
    config, common = several(recipe, argv)
    assert config == TrainSettings(corpus="other", size=5, bold=True, lines=1000)  # flags win
    assert common.section("sample", SampleSettings).ratio == 0.1
    assert common.changed == {"sample", "train"}
    config, common = several(recipe, ["--bold", "false", "train.size=9", "train.size=8"])
    assert (config.size, config.bold, common.changed) == (8, False, {"train"})
    assert several(recipe, [])[1].changed == frozenset()


def test_a_setting_of_another_section_may_have_a_flag(recipe: str) -> None:
    _, common = several(recipe, ["--ratio", "2", "sample.ratio=1"], short=("sample.ratio",))
    assert common.section("sample", SampleSettings).ratio == 2
    assert common.changed == {"sample"}
    assert "sample.ratio" not in common.flags


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train.sise=3"], "section train has no setting sise. Did you mean size?"),
        (["trian.size=3"], "this job reads train and sample, not 'trian'. Did you mean train?"),
        (["corpus.name=3"], "this job reads train and sample, not 'corpus'."),
        (["size=3"], "'size=3' is neither a flag nor SECTION.SETTING=VALUE."),
        (["train.size"], "'train.size' is neither a flag nor"),
        (["train.size=two"], "train.size=two: train.size is 'two'; it must be a whole number"),
        (["sample.ratio=x"], "sample.ratio=x: sample.ratio is 'x'; it must be a finite number"),
        (["train.size=-2"], "train.size=-2: train.size is -2; it must be at least 0."),
        (["--ratio", "2"], "Did you mean sample.ratio=VALUE?"),
        (["--sise", "2"], "Did you mean --size?"),
    ],
)
def test_a_change_that_cannot_be_is_refused_by_name(
    recipe: str, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert message in refused(capsys, lambda: several(recipe, argv))


def test_a_change_comes_over_what_revise_put_there(recipe: str) -> None:
    def revise(recipe: dict[str, Any], root: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {**recipe, "train": {"corpus": "old", "size": 5}}

    config, _ = several(recipe, ["train.lines=2"], revise=revise)
    assert config == TrainSettings(corpus="old", size=5, lines=2)


# The real jobs.

JOBS = {
    "build_corpus": build_corpus.JOB,
    "train": train.JOB,
    "sample": sample.JOB,
    "evaluate": evaluate.JOB,
    "explain": explain.JOB,
    "reproduce": reproduce.JOB,
}


def entry(shown: str, flag: str) -> str:
    """A flag's entry in --help, in one line; "" for none."""
    found = re.search(rf"^  {flag}( .*\n|\n)((       .*\n)*)", shown, re.MULTILINE)
    return " ".join(found[0].split()) if found else ""


@pytest.mark.parametrize("name", JOBS)
def test_help_has_a_sentence_and_a_group_for_every_setting(
    run: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    job: Job[Any] = JOBS[name]
    shown = run(name, "--help").out
    for flag in ("--recipe", "--scale", "--root", "--print_config", "--dry_run", "--help"):
        assert len(entry(shown, flag if flag != "--help" else "-h, --help").split()) > 3
    names = [setting.name for setting in dataclasses.fields(job.config_class)]
    docs = field_docs(job.config_class)
    settings = load_recipe("pystdlib")[job.section]
    groups = getattr(job.config_class, "GROUPS", {})
    assert set(groups) <= set(names)
    assert list(groups) == [each for each in names if each in groups]  # in the fields' order
    for setting in dataclasses.fields(job.config_class):
        assert len(docs[setting.name]) > 5, setting.name
        text = entry(shown, f"--{setting.name}")
        assert docs[setting.name] in text, setting.name
        if setting.name in settings and isinstance(settings[setting.name], str | int | float):
            assert f"(default: {settings[setting.name]})" in text
    assert "type:" not in shown
    for title in groups.values():
        assert f"\n{title}:\n" in shown
    # The first setting begins a group, so that each has one.
    assert not names or names[0] in groups
    for path in job.short:
        section, _, own = path.partition(".")
        assert field_docs(job.also[section])[own] in entry(shown, f"--{own}")


def test_help_has_the_defaults_of_the_recipe_and_scale(run: Run) -> None:
    shown = run("train", "--recipe", "linux", "--scale=post", "--help").out
    assert "(default: 700)" in entry(shown, "--hidden_size")
    assert "{lstm,gru,rnn}" in entry(shown, "--cell")
    assert entry(shown, "--compile").startswith("--compile torch.compile the model")


@pytest.mark.parametrize("name", JOBS)
def test_a_printed_recipe_gives_the_same_run(run: Run, tmp_path: Path, name: str) -> None:
    job: Job[Any] = JOBS[name]
    for recipe in recipe_names():
        changes = {"corpus": "corpus.source=a: b", "train": "train.seed=7"}
        given = [changes[section] for section in job.sections if section in changes]
        shown = run(name, "--recipe", recipe, "--scale", "post", *given, "--print_config")
        assert (shown.status, shown.err) == (0, "")
        path = tmp_path / "other.yaml"
        path.write_text(shown.out)
        assert run(name, "--recipe", path, "--print_config").out == shown.out
        printed = load_recipe(str(path))
        assert printed["name"] == recipe
        asked = load_recipe(recipe, "post", {"train": {"seed": 7}})
        assert printed["kind"] == asked["kind"]
        if name == "reproduce":
            assert printed["claims"] == asked["claims"]
        for section, config_class in job.sections.items():
            if section == "train":
                configs = [
                    dataclasses.asdict(configured(config_class, each[section], section))
                    for each in (printed, asked)
                ]
                digests = [settings_digest(each) for each in configs]
                assert digests[0] == digests[1]
                assert configs[0] == configs[1]


def test_a_printed_recipe_keeps_what_yaml_would_change(run: Run, tmp_path: Path) -> None:
    flags = ["--num_workers", "1:2", "--init_from", "no", "--learning_rate", "1e-5"]
    flags += ["--sample_every", "1,2", "--max_epochs", "1k"]
    path = tmp_path / "a.yaml"
    path.write_text(run("train", *flags, "--print_config").out)
    config = configured(TrainConfig, load_recipe(str(path))["train"])
    assert (config.num_workers, config.init_from, config.learning_rate) == ("1:2", "no", 1e-5)
    assert (config.sample_every, config.max_epochs) == ("1,2", 1000)
    assert yaml_files.load(path.read_text(), "x")["name"] == "pystdlib"


def test_a_dry_run_runs_the_plan_in_the_jobs_place(
    recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("some_plans")
    module.plan = lambda config, common: {"size": config.size, "root": common.root}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_plans", module)

    def job(config: TrainSettings, common: Common) -> dict[str, Any]:
        raise AssertionError

    def planned(*argv: str) -> None:
        given = ["--recipe", recipe, "--root", "/r", *argv]
        run_command("", "train", TrainSettings, job, given, plan=late("some_plans", "plan"))

    planned("--dry_run", "--size", "4")
    assert json.loads(capsys.readouterr().out) == {"size": 4, "root": "/r"}
    assert "size is -4" in refused(capsys, lambda: planned("--dry_run", "--size", "-4"))
    without = ["--recipe", recipe, "--dry_run"]
    line = refused(capsys, lambda: run_command("", "train", TrainSettings, job, without))
    assert "--dry_run" in line
