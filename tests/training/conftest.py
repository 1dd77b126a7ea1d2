from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.corpora.manifest import Corpus
from pipeline.training.config import TrainConfig
from pipeline.training.loop import Trainer

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


@pytest.fixture
def make_trainer(corpus: Corpus) -> Callable[..., Trainer]:
    """A trainer in this process, small, with changed settings."""

    def make(dtype: torch.dtype = torch.float32, **changes: Any) -> Trainer:
        return Trainer(TrainConfig(**{**SMALL, **changes}), corpus, torch.device("cpu"), dtype)

    return make


class Kept:
    """A reporter that keeps what it is given."""

    def __init__(self) -> None:
        self.files: dict[int, dict[str, bytes]] = {}
        self.rows: list[dict[str, Any]] = []

    def report(self, step: int, metrics: dict[str, float], files: dict[str, bytes] | None) -> None:
        if files is not None:
            self.files[step] = files

    def progress(self, done: int, total: int, row: dict[str, Any]) -> None:
        self.rows.append(row)


@pytest.fixture
def kept() -> Kept:
    return Kept()
