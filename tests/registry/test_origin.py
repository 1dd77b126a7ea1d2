"""Where a run comes from, as far as anybody knows."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

import pytest

from pipeline.registry import origin as module
from pipeline.registry.origin import git_commit, origin_tags, source, user

HOUSE = Path(__file__).parents[2]


def test_a_commit_from_the_environment_goes_before_gits(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an image or a submitted job there is no repository."""
    monkeypatch.setenv("UNREASONABLE_GIT_COMMIT", "abc")
    assert git_commit() == "abc"


@pytest.mark.parametrize("git", ["#!/bin/sh\necho no repository >&2\nexit 128\n", None])
def test_where_nobody_knows_the_commit_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git: str | None
) -> None:
    monkeypatch.delenv("UNREASONABLE_GIT_COMMIT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    if git:
        (tmp_path / "git").write_text(git)
        (tmp_path / "git").chmod(0o755)
    assert git_commit() == ""


def test_a_command_is_named_by_its_place_in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    for command, name in (
        (str(HOUSE / "jobs" / "train.py"), "jobs/train.py"),
        ("/usr/bin/unreasonable", "/usr/bin/unreasonable"),
        ("", ""),  # an interactive Python
    ):
        monkeypatch.setattr(sys, "argv", [command])
        assert source() == name


def test_a_user_without_a_name_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert user() == getpass.getuser()

    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(module.getpass, "getuser", nobody)
    assert user() == ""


def test_what_nobody_knows_is_no_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    monkeypatch.setattr(module, "user", lambda: "me")
    monkeypatch.setattr(module, "source", lambda: "jobs/train.py")
    monkeypatch.setattr(module, "git_commit", lambda: "")
    assert origin_tags() == {
        "mlflow.user": "me",
        "mlflow.source.name": "jobs/train.py",
        "mlflow.source.type": "LOCAL",
    }
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setattr(module, "git_commit", lambda: "abc")
    tags = origin_tags()
    assert (tags["mlflow.source.type"], tags["mlflow.source.git.commit"]) == ("JOB", "abc")
