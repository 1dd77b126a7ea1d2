"""The version that --version shows."""

from __future__ import annotations

import json
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from jobs import version as module
from jobs.version import version
from tests.jobs.conftest import HOUSE


def test_a_checkout_says_its_commit() -> None:
    command = ["git", "-C", str(HOUSE), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shown = version()
    assert shown.startswith(metadata.version("unreasonable"))
    if (HOUSE / ".git").exists():
        assert shown.endswith(f" (git {done.stdout[:12]})")


class Installed:
    version = "1.2.3"

    def __init__(self, text: str | None) -> None:
        self.text = text

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, "1.2.3"),
        (json.dumps({"url": "file:///x", "dir_info": {}}), "1.2.3"),
        (json.dumps({"vcs_info": {"commit_id": "a" * 40}}), f"1.2.3 (git {'a' * 12})"),
    ],
)
def test_an_installed_package_says_what_pip_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, shown: str
) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "jobs" / "version.py"))
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(text))
    assert version() == shown


def test_a_folder_without_the_package_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert re.fullmatch(r"not installed( \(git [0-9a-f]{12}\))?", version())
    (tmp_path / ".git").mkdir()  # what is no repository
    monkeypatch.setattr(module, "__file__", str(tmp_path / "jobs" / "version.py"))
    assert version() == "not installed"
    monkeypatch.setenv("PATH", "")  # and no git to ask
    assert version() == "not installed"
