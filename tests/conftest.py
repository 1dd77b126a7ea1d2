"""Small real inputs, one local Ray a process, and which tests share a process.

The suite runs in several processes side by side (pytest-xdist): much of it waits for engines to
start. A file's tests stay in one process, so its fixtures are made once. All tests of the local Ray
are in one, so there is one such Ray; so are those of tests/cluster, which share a head node.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Read when torch is imported: processes side by side share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus, open_corpus

STDLIB = Path(os.__file__).parent
MODULES = (
    "abc",
    "ast",
    "bisect",
    "calendar",
    "cmd",
    "code",
    "copy",
    "csv",
    "dis",
    "enum",
    "fnmatch",
    "heapq",
)


# Debian's, which `make browser` installs, or one that is somewhere else.
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a browser where there is none. Name the process that each test runs in:
    see above. The long ones first, so that they do not end alone.
    """
    if not CHROMIUM.exists():
        left_out = [item for item in items if item.get_closest_marker("browser")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    files_with_ray = {
        item.path for item in items if "local_ray" in getattr(item, "fixturenames", ())
    }
    for item in items:
        group = str(item.path)
        if item.path in files_with_ray:
            group = "ray"
        elif item.path.parent.name == "cluster":
            group = "cluster"
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line says what this machine could not test: pytest's own line cannot be added to."""
    is_xdist_process = hasattr(config, "workerinput")
    if not is_xdist_process and not CHROMIUM.exists():
        print(f"left out: all tests marked browser, for want of {CHROMIUM}; run `make browser`.")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads or writes a person's root, tracking server or cluster."""
    # A job that ran in this process has set it to INFO; tests read what is logged by default.
    monkeypatch.setattr(logging.getLogger("unreasonable"), "level", logging.NOTSET)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UNREASONABLE_ROOT", str(tmp_path / "unreasonable"))


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real text: a dozen modules of the standard library, one hidden, one in a folder
    of its own.
    """
    folder = tmp_path_factory.mktemp("texts")
    for name in MODULES:
        (folder / f"{name}.py").write_bytes((STDLIB / f"{name}.py").read_bytes())
    (folder / ".hidden.py").write_bytes(b"hidden = 1\n")
    (folder / "_private").mkdir()
    (folder / "_private" / "keyword.py").write_bytes((STDLIB / "keyword.py").read_bytes())
    return folder


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> str:
    """A root that holds the corpus `texts`."""
    folder = str(tmp_path_factory.mktemp("root"))
    build_corpus(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One headless Chromium for a file's tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root, as CI is, may not use Chromium's sandbox.
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def corpus(root: str) -> Corpus:
    return open_corpus(root, "texts")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One local Ray with two CPUs."""
    from cluster.connect import ray_session

    with ray_session(num_cpus=2):
        yield
