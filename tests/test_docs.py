"""What the documents say of the code is true: names, lines, and how long README is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
ARCHITECTURE = (HOUSE / "docs" / "architecture.md").read_text()
PAGES = [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", HOUSE / "SECURITY.md"]
PAGES += sorted((HOUSE / "docs").glob("*.md"))
# | hop | `file` | `function` | `line` |
HOPS = re.findall(r"^\| (.+?) \| `(\S+\.py)` \| `(\w+)` \| `(.+)` \|$", ARCHITECTURE, re.MULTILINE)


def test_readme_can_be_read_at_one_sitting() -> None:
    assert len((HOUSE / "README.md").read_text().splitlines()) <= 130


@pytest.mark.parametrize(("hop", "file", "function", "line"), HOPS)
def test_each_hop_of_the_tour_is_in_the_code(hop: str, file: str, function: str, line: str) -> None:
    source = (HOUSE / file).read_text()
    bodies = [
        ast.get_source_segment(source, node) or ""
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    assert any(line in body for body in bodies), f"{hop}: {file} has no {line!r} in {function}"


def test_the_tour_was_found() -> None:
    assert len(HOPS) > 20


def test_every_file_of_the_house_is_in_the_drawing() -> None:
    drawn = set(re.findall(r"^ +(\w+\.py) ", ARCHITECTURE, re.MULTILINE))
    there = {
        path.name
        for folder in ("pipeline", "jobs", "cluster")
        for path in (HOUSE / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert drawn == there


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = set(
        re.findall(
            r"(?:pipeline|jobs|cluster|tests|benchmarks)/[\w/]+\.(?:py|yaml|md)", page.read_text()
        )
    )
    missing = {name for name in named if not (HOUSE / name).exists()}
    assert not missing
