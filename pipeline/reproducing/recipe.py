"""A recipe as settings. Beside the stages, which import the engines: who forecasts needs none."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.corpora.config import CorpusConfig
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe's sections as settings; `name` names the model."""

    name: str
    corpus: CorpusConfig
    train: TrainConfig
    sample: SampleConfig
