from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import storage
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.training import checkpoint
from pipeline.training.config import TrainConfig
from pipeline.training.trainer import Trainer

SMALL: dict[str, Any] = {
    "corpus": "texts",
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


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Corpus:
    """Two short modules: an epoch of them takes few steps."""
    root = str(tmp_path_factory.mktemp("small"))
    files = [str(texts / f"{name}.py") for name in ("bisect", "fnmatch", "abc")]
    build_corpus(CorpusConfig(name="small", source=files, split="tail", val=0.2, test=0.0), root)
    return open_corpus(root, "small")


@pytest.fixture
def make_trainer(corpus: Corpus) -> Callable[..., Trainer]:
    """A trainer in this process, small, with changed settings."""

    def make(dtype: torch.dtype = torch.float32, over: Corpus = corpus, **changes: Any) -> Trainer:
        return Trainer(TrainConfig(**{**SMALL, **changes}), over, torch.device("cpu"), dtype)

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
        self.files[step], self.journals[step] = files, journal

    def write(self, run_url: str, step: int) -> str:
        """Write a kept checkpoint as a run does; returns its folder."""
        storage.write_bytes(storage.join(run_url, checkpoint.METRICS), self.journals[step])
        checkpoint.write(storage.join(run_url, checkpoint.name(step)), self.files[step])
        return storage.join(run_url, checkpoint.name(step))

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
