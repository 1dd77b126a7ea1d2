"""What a recipe would do, from source to report: each stage's forecast, fed by the one before."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pipeline.corpora.forecast import BuildOptions, CorpusForecast
from pipeline.corpora.forecast import forecast as corpus_forecast
from pipeline.corpora.manifest import split_reference
from pipeline.errors import InputError
from pipeline.estimates import RAY_START_S, Estimate
from pipeline.reproducing.recipe import Recipe
from pipeline.sampling import forecast as sampling
from pipeline.sampling.forecast import SampleForecast
from pipeline.training import forecast as training
from pipeline.training.forecast import Text, TrainForecast

# xz -9e, beside which a model is reported: bytes of validation text a second of one CPU.
XZ_BYTES_PER_S = 1.5e6


@dataclass(frozen=True, kw_only=True)
class ReproduceForecast:
    """The stages, in order. `skipped` are those whose output is there already.

    Ray starts once for all of them, so `seconds` is less than the stages' sum.
    """

    recipe: str
    corpus: CorpusForecast
    train: TrainForecast
    sample: SampleForecast
    skipped: tuple[str, ...]
    seconds: Estimate | None

    def to_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "corpus": self.corpus.to_json(),
            "train": self.train.to_json(),
            "sample": self.sample.to_json(),
            "skipped": list(self.skipped),
            "seconds": self.seconds.to_json() if self.seconds else None,
        }


def forecast(recipe: Recipe, root: str, cpus: int | None) -> ReproduceForecast:
    """Forecast all stages. Where a stage's input is still to be made, it is estimated."""
    corpus = corpus_forecast(recipe.corpus, root, BuildOptions())
    text = text_of(corpus) if corpus.builds and _learns_it(recipe) else None
    train = training.forecast(recipe.train, root, recipe.name, text, cpus)
    sample = _sample(recipe, root, train)
    skipped = []
    if not corpus.builds:
        skipped.append("corpus")
    if train.same_settings:
        skipped.append("train")
    if sample.kept == sample.files:
        skipped.append("sample")
    return ReproduceForecast(
        recipe=recipe.name,
        corpus=corpus,
        train=train,
        sample=sample,
        skipped=tuple(skipped),
        seconds=_seconds(corpus, train, sample),
    )


def text_of(corpus: CorpusForecast) -> Text:
    """A corpus that is still to be built, as training reads it.

    InputError where its splits cannot be trained on, as the run would refuse it when it is built.
    """
    if corpus.tokens["val"] < 2 and corpus.whole:
        raise InputError(
            f"corpus {corpus.corpus} would have {corpus.tokens['val']} val tokens; evaluation "
            "needs 2: build it with a larger --val share."
        )
    return Text(
        name=corpus.corpus,
        version="",
        fingerprint="",
        unit=corpus.unit,
        vocab_size=corpus.vocab_size,
        train_tokens=corpus.tokens["train"],
        val_tokens=corpus.tokens["val"],
        whole=corpus.whole and corpus.cut,
        streams=corpus.streams,
    )


def _learns_it(recipe: Recipe) -> bool:
    """Whether the run learns the corpus that the recipe builds, in its newest version."""
    name, version = split_reference(recipe.train.corpus)
    return name == recipe.corpus.name and not version


def _sample(recipe: Recipe, root: str, train: TrainForecast) -> SampleForecast:
    """The samples of the model that is there, or of one of the shape that will be."""
    own = f"models:/{recipe.name}@champion"
    if recipe.sample.model != own:
        return sampling.forecast(recipe.sample, root)
    if train.same_settings:
        config = dataclasses.replace(recipe.sample, model=train.same_settings)
        return sampling.forecast(config, root)
    model = recipe.train.model(train.text.vocab_size)
    return sampling.untrained(recipe.sample, model, train.text.unit)


def _seconds(
    corpus: CorpusForecast, train: TrainForecast, sample: SampleForecast
) -> Estimate | None:
    """Of all stages; None where one of them is on a GPU."""
    if train.seconds is None or sample.seconds is None:
        return None
    stages = {
        "corpus": corpus.seconds.value if corpus.builds else 0.0,
        "training": 0.0 if train.same_settings else train.seconds.value,
        "samples": sample.seconds.value if sample.kept < sample.files else 0.0,
    }
    # Each stage that works counts the start of Ray, which happens once; and it does even where all
    # is there already.
    starts = sum(value > 0 for value in stages.values())
    report = train.text.val_tokens / XZ_BYTES_PER_S
    value = sum(stages.values()) - RAY_START_S * (starts - 1) + report
    parts = ", ".join(f"{name} {value:.0f} s" for name, value in stages.items())
    return Estimate(
        round(value, 1), f"{parts}, less Ray's start for all but one, xz {report:.0f} s"
    )
