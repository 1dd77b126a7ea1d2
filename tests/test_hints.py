"""What to type next."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from pipeline.hints import command


def test_a_command_is_named_so_that_the_shell_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert command("train") == "unreasonable train"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert command("train") == "unreasonable train"
    (tmp_path / "unreasonable").write_bytes(b"")
    assert command("sample") == f"{tmp_path}/unreasonable sample"
