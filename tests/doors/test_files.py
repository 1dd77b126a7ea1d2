"""Broken files under a root, and broken files that a person names: one line that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.doors.house import shown

Refused = Callable[..., str]

# What a file can hold when somebody, or a full disk, has been at it.
BROKEN = [
    b"",
    b"\x00\xff\xfe",
    b"{",
    b"[]",
    b"null",
    b"5",
    b'"x"',
    b"{}",
    b"[" * 100_000,
    b'{"format": 99}',
    b"9" * 5000,
]
RECIPES = [
    b"",
    b"\xff\xfe\x00",
    b"\x00",
    b"[1]",
    b"5",
    b"corpus: [",
    b"corpus: {name: [}",
    b"corpus: 5",
    b"corpus: [1]",
    b"train: word",
    b"train: {5: 1}",
    b"train: {zebras: 3}",
    b"zebras: {}",
    b"scales: 5",
    b"scales: {small: 5}",
    b"corpus: nosuchrecipe",
    b"corpus: 2026-13-45",
    b"? [a]\n: b",
    b"!!python/object:os.system {}",
    b"a: &a [*a]",
    b"train: &t {<<: *t}",
    b"[" * 5000,
    b"- \ttabs",
]
SCHEDULES = [
    b"",
    b"\xff\xfe",
    b"[" * 5000,
    b"5",
    b"schedules: 5",
    b"schedules: []",
    b"schedules: [5]",
    b"schedules: [{}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: nosuch}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: 5}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: [a]}]",
    b"schedules: [{name: 5, cron: '0 3 * * *', recipe: latex}]",
    b"schedules: [{name: 'A b', cron: '0 3 * * *', recipe: latex}]",
    b"schedules: [{name: a, cron: 5, recipe: latex}]",
    b"schedules: [{name: a, cron: '99 3 * * *', recipe: latex}]",
    b"schedules: [{name: a, cron: [1], recipe: latex}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: latex, timezone: Nowhere}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: latex, timezone: 5}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: latex, timezone: ../../etc}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: latex, scale: 5}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: latex, retries: true}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: latex, retries: 1.5}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: latex, retry_after_s: .nan}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: latex, build: 5}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: latex, build: {5: 1}}]",
    b"schedules: [{name: a, cron: '0 3 * * *', recipe: latex, zebras: 3}]",
    b"schedules: [{name: a, cron: 2026-13-45, recipe: latex}]",
]


@pytest.fixture
def broken(house: str, tmp_path: Path) -> Callable[[str, bytes], str]:
    """A copy of the house with one file of another content; its root."""

    def broken(file: str, content: bytes) -> str:
        root = tmp_path / "root"
        ours = shutil.ignore_patterns("mlartifacts", "mlflow.db")
        shutil.copytree(house, root, ignore=ours)
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(root)

    return broken


@pytest.mark.parametrize("content", BROKEN, ids=map(shown, BROKEN))
def test_a_run_whose_start_is_broken_is_not_resumed(
    refused: Refused, broken: Callable[[str, bytes], str], content: bytes
) -> None:
    root = broken("runs/begun/start.json", content)
    assert "runs/begun/start.json" in refused("train", "--root", root, "--resume", "begun")


@pytest.mark.parametrize(
    "config", [{"zebras": 1}, {"corpus": 5}, {"num_layers": None, "corpus": "texts"}]
)
def test_a_start_with_other_settings_is_refused(
    refused: Refused, broken: Callable[[str, bytes], str], config: dict[str, object]
) -> None:
    start = {
        "format": 1,
        "corpus": {"name": "texts", "version": "1", "fingerprint": "1"},
        "recipe": "texts",
        "config": config,
    }
    root = broken("runs/begun/start.json", json.dumps(start).encode())
    assert next(iter(config)) in refused("train", "--root", root, "--resume", "begun")


@pytest.mark.parametrize("content", [b"", b"nothing", b"../..", b"a/b", b"\x00"])
def test_a_latest_that_names_nothing_is_refused(
    refused: Refused, broken: Callable[[str, bytes], str], content: bytes
) -> None:
    # In a recipe of another corpus: its own would be built where there is none.
    arguments = ["--root", broken("corpora/texts/LATEST", content), "--recipe", "paulgraham"]
    assert "texts" in refused("train", *arguments, "--corpus", "texts")
    assert "texts" in refused("build_corpus", *arguments, "--verify", "--name", "texts")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"5"])
def test_a_broken_record_of_sources_is_refused_or_built_over(
    refused: Refused, broken: Callable[[str, bytes], str], content: bytes
) -> None:
    root = broken("corpora/texts/sources.json", content)
    assert "sources.json" in refused("build_corpus", "--root", root)


@pytest.mark.parametrize("content", RECIPES, ids=map(shown, RECIPES))
def test_a_recipe_that_is_none_is_refused_by_name(
    refused: Refused, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    for job in ("train", "reproduce"):
        refused(job, "--recipe", str(path))


@pytest.mark.parametrize("content", SCHEDULES, ids=map(shown, SCHEDULES))
def test_a_schedule_that_is_none_is_refused_by_name(
    refused: Refused, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_bytes(content)
    refused("schedule", "--list", "--schedule", str(path))


@pytest.mark.parametrize("content", BROKEN, ids=map(shown, BROKEN))
def test_a_broken_ledger_is_refused_by_name(
    refused: Refused, broken: Callable[[str, bytes], str], tmp_path: Path, content: bytes
) -> None:
    root = broken("schedules/latex/000001.json", content)
    path = tmp_path / "schedule.yaml"
    path.write_text("schedules: [{name: a, cron: '0 3 * * *', recipe: latex}]")
    line = refused("schedule", "--root", root, "--list", "--schedule", str(path))
    assert "schedules/latex/000001.json" in line
    assert "schedules/latex" in refused("schedule", "--root", root, "--perform", "latex/1")
