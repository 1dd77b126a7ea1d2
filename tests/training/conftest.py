"""A small corpus whose epoch takes few steps, trainers on it, and one run on real Ray workers."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from pipeline import runs, storage
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.model.about import CorpusReference
from pipeline.training.config import TrainConfig
from pipeline.training.preflight import RunStart
from pipeline.training.trainer import Trainer

if TYPE_CHECKING:
    from pipeline.training.finishing import TrainedRun

SMALL: dict[str, Any] = {
    "corpus": "small",
    "num_layers": 2,
    "hidden_size": 16,
    "global_batch_size": 6,
    "seq_len": 20,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "max_steps": 20,
    "max_epochs": 0,
    "eval_every": 10,
    "eval_lanes": 4,
}

# Of the run on Ray.
CONFIG = TrainConfig(
    corpus="texts",
    num_layers=1,
    hidden_size=32,
    global_batch_size=8,
    seq_len=32,
    optimizer="adam",
    learning_rate=0.01,
    max_steps=60,
    eval_every=20,
    checkpoint_every=20,
    num_workers=2,
    sample_every="10,40",
    sample_chars=60,
)
RUN_ID = "20260102-030405-abcdef"


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> str:
    """A root that holds the corpus `small`: three short modules, evaluated in a few passes."""
    root = str(tmp_path_factory.mktemp("small"))
    files = [str(texts / f"{name}.py") for name in ("bisect", "fnmatch", "abc")]
    build_corpus(CorpusConfig(name="small", source=files, split="tail", val=0.2, test=0.0), root)
    return root


@pytest.fixture(scope="session")
def small_corpus(small_root: str) -> Corpus:
    return open_corpus(small_root, "small")


@pytest.fixture
def make_trainer(small_corpus: Corpus) -> Callable[..., Trainer]:
    """A trainer in this process, small, with changed settings."""

    def make(dtype: torch.dtype = torch.float32, **changes: Any) -> Trainer:
        config = TrainConfig(**{**SMALL, **changes})
        return Trainer(config, small_corpus, torch.device("cpu"), dtype)

    return make


class Kept:
    """A reporter that keeps what it is given, and asks to stop after `stop_at` steps."""

    def __init__(self, stop_at: int = 0) -> None:
        self.files: dict[int, dict[str, bytes]] = {}
        self.journals: dict[int, bytes] = {}
        self.rows: list[dict[str, Any]] = []
        self.sampled: list[int] = []
        self.stop_at = stop_at

    def save(self, step: int, files: dict[str, bytes], journal: bytes) -> None:
        self.files[step] = files
        self.journals[step] = journal

    def write(self, run_url: str, step: int) -> str:
        """Write a kept checkpoint as a run does; returns its folder."""
        url = storage.join(run_url, runs.checkpoint_name(step))
        storage.write_bytes(storage.join(run_url, runs.METRICS), self.journals[step])
        runs.write_checkpoint(url, self.files[step])
        return url

    def progress(self, done: int, total: int, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def sample(self, trainer: Trainer) -> None:
        self.sampled.append(trainer.step)

    def stop_asked(self) -> bool:
        return bool(self.stop_at) and len(self.rows) + 1 >= self.stop_at

    def leaving(self) -> bool:
        return False


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> str:
    """The root of the runs on Ray: a corpus, and an MLflow of its own."""
    root = str(tmp_path_factory.mktemp("home"))
    build_corpus(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), root)
    return root


@pytest.fixture(scope="session")
def trained(home: str, local_ray: None) -> TrainedRun:
    """A run on two Ray workers from end to end, which was stopped at step 40 and resumed."""
    from pipeline.training.on_ray import run_training
    from pipeline.training.run import run_experiment  # imports mlflow: most tests need none

    corpus = open_corpus(home, "texts")
    reference = CorpusReference(corpus.name, corpus.version, corpus.fingerprint)
    start = RunStart(reference, "texts", dataclasses.asdict(CONFIG))
    start.write(runs.run_url(home, RUN_ID))
    run_training(dataclasses.replace(CONFIG, max_steps=40), home, RUN_ID, "texts", corpus)
    return run_experiment(dataclasses.replace(CONFIG, resume=RUN_ID), home, "texts", corpus)


@pytest.fixture
def in_process(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray Train runs a run's one worker in this process: 0.1 s to start it, instead of 10 s.

    All of on_ray.py runs but the report of the best checkpoint, which Ray has not made for this.
    """
    import ray.train

    from pipeline.training.on_ray import RayReporter

    real = ray.train.ScalingConfig

    def no_workers(**settings: Any) -> Any:
        return real(**{**settings, "num_workers": 0})

    monkeypatch.setattr(ray.train, "ScalingConfig", no_workers)
    monkeypatch.setattr(RayReporter, "_report_best", lambda self, result: None)
    loggers = [logging.getLogger(name) for name in ("", "ray.train", "unreasonable")]
    levels = [logger.level for logger in loggers]
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
