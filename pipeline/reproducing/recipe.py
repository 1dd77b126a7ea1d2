"""A recipe as settings. Beside the stages, which import the engines: who forecasts needs none."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.corpora.config import CorpusConfig
from pipeline.evaluation.config import EvaluateConfig
from pipeline.explaining.config import ExplainConfig
from pipeline.reproducing.claims import Claim
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe's sections as settings; `name` names the model, `kind` says what its text is.

    Without `evaluate` or `explain` these stages do not run.
    """

    name: str
    corpus: CorpusConfig
    train: TrainConfig
    sample: SampleConfig
    evaluate: EvaluateConfig | None = None
    explain: ExplainConfig | None = None
    kind: str = ""
    claims: tuple[Claim, ...] = ()
