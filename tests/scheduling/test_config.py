from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.scheduling.config import BUILD, TRAIN, Schedule


def schedule(**changes: Any) -> Schedule:
    return Schedule(**{"name": "nightly", "cron": "0 3 * * *", "recipe": "pystdlib", **changes})


def test_what_is_not_said_has_a_default() -> None:
    assert dataclasses.asdict(schedule()) == {
        "name": "nightly",
        "cron": "0 3 * * *",
        "recipe": "pystdlib",
        "timezone": "UTC",
        "scale": "",
        "build": {},
        "train": None,
        "retries": 2,
        "retry_after_s": 60.0,
        "on_failure": "",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a"},
        {"name": "0"},
        {"name": "a-" + "9" * 39},
        {"retries": 0},
        {"retries": 20},
        {"retry_after_s": 0},
        {"retry_after_s": 86_400},
        {"retry_after_s": 0.5},
        {"train": {}},
        {"on_failure": "https://host/hook"},
        {"on_failure": "mail -s 'it failed, see http://host' me"},
    ],
)
def test_what_is_just_allowed(changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        assert getattr(schedule(**changes), name) == value


NAME = "must be lower-case letters, digits and hyphens, 41 at most."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "A"}, f"schedule name 'A' {NAME}"),
        ({"name": ""}, f"schedule name '' {NAME}"),
        ({"name": "-a"}, f"schedule name '-a' {NAME}"),
        ({"name": "a b"}, f"schedule name 'a b' {NAME}"),
        ({"name": "a" * 42}, f"schedule name {'a' * 42!r} {NAME}"),
        ({"retries": -1}, "schedule nightly: retries is -1; it must be from 0 to 20."),
        ({"retries": 21}, "schedule nightly: retries is 21; it must be from 0 to 20."),
        ({"retries": 1.5}, "schedule nightly: retries is 1.5; it must be from 0 to 20."),
        (
            {"retry_after_s": -0.1},
            "schedule nightly: retry_after_s is -0.1; it must be from 0 to 86,400.",
        ),
        (
            {"retry_after_s": 86_401},
            "schedule nightly: retry_after_s is 86401; it must be from 0 to 86,400.",
        ),
        (
            {"retry_after_s": "1h"},
            "schedule nightly: retry_after_s is 1h; it must be from 0 to 86,400.",
        ),
        ({"on_failure": 3}, "schedule nightly: on_failure is 3; it must be text."),
        ({"on_failure": " "}, "schedule nightly: on_failure is blank; leave it out."),
        (
            {"on_failure": "mail 'x"},
            "schedule nightly: on_failure is no command: No closing quotation.",
        ),
        (
            {"on_failure": "ftp://host/x"},
            "schedule nightly: on_failure must be an http or https URL, or a command.",
        ),
        (
            {"build": ["--keep"]},
            "schedule nightly: build must be flags and their values, such as {num_workers: 2}.",
        ),
        (
            {"train": {3: 4}},
            "schedule nightly: train must be flags and their values, such as {num_workers: 2}.",
        ),
        (
            {"train": "yes"},
            "schedule nightly: train must be flags and their values, such as {num_workers: 2}.",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        schedule(**changes)
    assert str(refused.value) == message


def test_the_corpus_is_the_recipes_unless_the_build_names_one() -> None:
    assert schedule(recipe="latex").corpus == "latex"
    assert schedule(build={"name": "mine"}).corpus == "mine"


def test_the_command_of_a_build() -> None:
    flags = {"keep": 3, "force": True, "verify": False, "num_workers": 1}
    assert schedule(build=flags, train={"num_workers": 2}).command(BUILD, "s3://b/r") == [
        "jobs/build_corpus.py",
        *["--recipe", "pystdlib", "--root", "s3://b/r"],
        *["--keep", "3", "--force", "--num_workers", "1"],
    ]


def test_the_command_of_a_training_names_the_corpus_version_last() -> None:
    trained = schedule(scale="small", build={"keep": 3}, train={"max_steps": 5})
    assert trained.command(TRAIN, "/r", "pystdlib@v1") == [
        "jobs/train.py",
        *["--recipe", "pystdlib", "--scale", "small", "--root", "/r"],
        *["--max_steps", "5", "--corpus", "pystdlib@v1"],
    ]
    assert schedule().command(TRAIN, "/r", "p@v")[-2:] == ["--corpus", "p@v"]


def test_a_schedules_own_flags_win() -> None:
    assert schedule(scale="small", build={"root": "/other", "scale": "post"}).command(
        BUILD, "/r"
    ) == ["jobs/build_corpus.py", "--recipe", "pystdlib", "--scale", "post", "--root", "/other"]
