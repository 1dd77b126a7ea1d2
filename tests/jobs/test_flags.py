"""Flags from a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest

from jobs.arguments import Parser
from jobs.flags import add_section
from pipeline.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Shape:
    GROUPS: ClassVar[dict[str, str]] = {"name": "names", "size": "sizes"}

    name: str
    """what it is called"""
    size: int = 1
    """how large: 100% is all"""
    ratio: float = 0.0
    """how wide"""
    kind: Literal["round", "square"] = "round"
    """its kind"""
    tags: list[str] = field(default_factory=lambda: ["a"])
    """words"""
    hollow: bool = False
    """nothing in it"""
    solid: bool = True
    """all in it"""
    many: int = field(default=0, metadata={"bare": "100"})
    """how many"""
    often: int | str = field(default=5, metadata={"metavar": "N|5m"})
    """how often"""
    either: str | list[str] = ""
    """one or several"""


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def shown(settings: Mapping[str, Any]) -> list[str]:
    """The lines of --help."""
    parser = Parser(prog="x")
    add_section(parser, Shape, settings)
    return [" ".join(line.split()) for line in parser.format_help().splitlines()]


def test_an_entry_is_a_flag_its_sentence_and_its_default() -> None:
    lines = shown(Settings.of_texts({"ratio": "1e-3"}))
    for line in (
        "names:",
        "--name TEXT what it is called (needed)",
        "sizes:",
        "--size N how large: 100% is all (default: 1)",
        "--ratio X how wide (default: 1e-3)",
        "--kind {round,square} its kind (default: round)",
        '--tags [A, B] words (default: ["a"])',
        "--hollow nothing in it",
        "--solid all in it (default: true)",
        "--many [N] how many (default: 0)",
        "--often N|5m how often (default: 5)",
        "--either TEXT|[A, B] one or several",
    ):
        assert line in lines, line
    assert "--ratio X how wide (default: 0.5)" in shown({"ratio": 0.5})


def test_flags_that_are_not_given_leave_no_trace() -> None:
    parser = Parser()
    add_section(parser, Shape, {})

    def parsed(*argv: str) -> dict[str, Any]:
        values: dict[str, Any] = parser.parse_args(argv).as_dict()
        return values

    assert parsed() == {}
    given = parsed("--hollow", "--many", "--size", "-3")
    assert given == {"hollow": "true", "many": "100", "size": "-3"}
    given = parsed("--hollow", "no", "--many=7", "--name", "")
    assert given == {"hollow": "no", "many": "7", "name": ""}
