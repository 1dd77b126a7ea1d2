"""A recipe as settings. Beside the stages, which import the engines: who forecasts needs none."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.corpora.config import CorpusConfig
from pipeline.evaluation.config import EvaluateConfig
from pipeline.explaining.config import ExplainConfig
from pipeline.reproducing.claims import Claim
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig

# What a recipe's stages take where it says nothing else: minutes, not an hour, on two cores. The
# jobs of these sections by themselves take all of the text.
EVALUATE = {
    "max_bytes": 500_000,
    "warm_bytes": 8 << 20,
    "ngram_bytes": 2 << 20,
    "max_order": 12,
    "num_workers": 2,
}
EXPLAIN = {"finder_bytes": 50_000, "num_workers": 2}


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
