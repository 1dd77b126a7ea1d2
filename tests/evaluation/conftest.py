"""A root with a corpus and two models' checkpoints, which need no registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.registering import checkpoint


@pytest.fixture(scope="session")
def home(root: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root of its own with the corpus `texts`."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "corpora").symlink_to(Path(root, "corpora"))
    return str(folder)


@pytest.fixture(scope="session")
def small(home: str) -> str:
    return checkpoint(home, 8)


@pytest.fixture(scope="session")
def large(home: str) -> str:
    return checkpoint(home, 24)
