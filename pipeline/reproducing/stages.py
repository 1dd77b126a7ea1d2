"""The stages of a recipe, one after another. Each finds out by itself what is there already."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any

from pipeline.corpora.build import BuildResult, build_corpus
from pipeline.evaluation.baselines import baselines
from pipeline.registry.fetch import frozen_vocab
from pipeline.reproducing.recipe import Recipe
from pipeline.sampling.job import SampleResult
from pipeline.sampling.run import run_sampling
from pipeline.tasks import Runner
from pipeline.training.finishing import TrainedRun
from pipeline.training.preflight import check_run
from pipeline.training.run import ensure_trained

# Recipe has a file of its own, which imports no engine; who runs stages finds it here.
__all__ = ["Recipe", "Reproduction", "StageTimes", "reproduce"]


@dataclass
class StageTimes:
    """Seconds of each stage since the one before, by name."""

    seconds: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def done(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[stage] = round(now - self.began, 1)
        self.began = now


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What a recipe came to. A run that was asked to stop ends with its training.

    `bits_per_byte` are of the model and of simple compressors, on the validation text.
    """

    recipe: str
    root: str
    built: BuildResult
    trained: TrainedRun
    sampled: SampleResult | None = None
    bits_per_byte: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        if self.sampled is None:
            return self.trained.to_json()
        return {
            "recipe": self.recipe,
            "root": self.root,
            "corpus": self.built.url,
            "model": self.trained.model,
            "samples": self.sampled.samples,
            "val_bits_per_byte": {
                name: round(value, 4) for name, value in self.bits_per_byte.items()
            },
            "seconds": self.seconds,
        }


def reproduce(recipe: Recipe, root: str, run: Runner, times: StageTimes) -> Reproduction:
    """Build, train, register, sample and measure.

    Ray must be initialised. `run` runs the corpus's tasks.
    """
    # An unchanged source is not read again, a trained model not trained again, files that are there
    # not written again: a recipe that was killed goes on where it was.
    frozen = frozen_vocab(recipe.corpus.vocab_from, root)
    built = build_corpus(recipe.corpus, root, run, frozen=frozen)
    times.done("corpus")
    corpus = check_run(recipe.train, root)
    trained = ensure_trained(recipe.train, root, recipe.name, corpus)
    if trained.stopped:  # it can be resumed, and has no model before that
        return Reproduction(recipe=recipe.name, root=root, built=built, trained=trained)
    times.done("train")
    sample = dataclasses.replace(recipe.sample, model=_model_to_sample(recipe, trained))
    # Ray is there already: nothing to enter.
    sampled = run_sampling(sample, root, contextlib.nullcontext).result
    times.done("sample")
    assert trained.val_bits_per_byte is not None
    # Beside what anybody can have without a model, on the same text.
    bits_per_byte = {"model": trained.val_bits_per_byte, **baselines(corpus, "val")}
    times.done("report")
    return Reproduction(
        recipe=recipe.name,
        root=root,
        built=built,
        trained=trained,
        sampled=sampled,
        bits_per_byte=bits_per_byte,
        seconds=times.seconds,
    )


def _model_to_sample(recipe: Recipe, trained: TrainedRun) -> str:
    """The model that was trained, unless the recipe names another one.

    It need not have become champion: the report is about this model, so the samples are too.
    """
    own = f"models:/{recipe.name}@champion"
    return trained.model if recipe.sample.model == own else recipe.sample.model
