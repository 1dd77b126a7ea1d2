"""Small real inputs, and one local Ray for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

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


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads or writes a person's root, tracking server or cluster."""
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UNREASONABLE_ROOT", str(tmp_path / "unreasonable"))


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real text: a dozen modules of the standard library, one hidden, one in a folder of its own."""
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


@pytest.fixture(scope="session")
def corpus(root: str) -> Corpus:
    return open_corpus(root, "texts")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One local Ray with two CPUs."""
    from cluster.connect import ray_session

    with ray_session(num_cpus=2):
        yield
