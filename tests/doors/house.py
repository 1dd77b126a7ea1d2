"""A house to try doors of, and what it holds: nothing that is refused may change it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What has to stay as it is in MLflow's database.
_TABLES = ("runs", "experiments", "registered_models", "model_versions", "registered_model_aliases")


@dataclass(frozen=True)
class Contents:
    """Files with their sizes, and the rows of MLflow's tables. Empty folders are nothing."""

    files: frozenset[tuple[str, int]]
    records: tuple[tuple[str, int], ...]


def contents(*roots: str | Path) -> Contents:
    """What lies under some folders."""
    files = set()
    records = []
    for root in map(Path, roots):
        for path in root.rglob("*"):
            is_database = path.name.startswith("mlflow.db")
            if path.is_file() and not is_database:
                files.add((str(path), path.stat().st_size))
        database = root / "mlflow.db"
        if database.exists():
            records += _rows(database)
    return Contents(frozenset(files), tuple(records))


def _rows(database: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(database)) as connection:
        counted: list[tuple[str, int]] = []
        for table in _TABLES:
            (count,) = connection.execute(f"select count(*) from {table}").fetchone()
            counted.append((table, int(count)))
    return counted


def shown(value: Any) -> str:
    """A value as a test's name: short, and the same in every process."""
    return "".join(char if char.isalnum() or char in ".-_" else "_" for char in repr(value))[:30]
