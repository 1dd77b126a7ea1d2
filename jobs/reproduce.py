"""Run a recipe from source to report: corpus, training, registered model, samples, and figures beside xz's."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import time
from dataclasses import dataclass
from typing import Any

from jobs.command import Common, run_command
from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig

log = logging.getLogger("unreasonable")

EXCERPT_LINES = 10


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """Nothing of its own: every setting is in the recipe's sections."""


def reproduce(_: ReproduceConfig, common: Common) -> dict[str, Any]:
    corpus_config = common.section("corpus", CorpusConfig)
    train_config = common.section("train", TrainConfig)
    sample_config = common.section("sample", SampleConfig)
    from cluster.connect import node_count, ray_session
    from pipeline.corpora.build import build_corpus, ray_runner
    from pipeline.evaluation.baselines import baselines
    from pipeline.experiment import ensure_trained
    from pipeline.sampling_run import run_sampling
    from pipeline.training.preflight import check_run

    seconds: dict[str, float] = {}
    began = time.monotonic()

    def done(stage: str) -> None:
        nonlocal began
        seconds[stage], began = round(time.monotonic() - began, 1), time.monotonic()

    with ray_session():
        storage.check_reachable_by(common.root, node_count())
        done("start")
        built = build_corpus(corpus_config, common.root, ray_runner())
        done("corpus")
        corpus = check_run(train_config, common.root)
        trained = ensure_trained(train_config, common.root, common.recipe_name, corpus)
        if trained.get("stopped"):
            log.info("stopped; go on: %s", f"python jobs/train.py --root {common.root} --resume {trained['run_id']}")
            return trained
        done("train")
        sample_config = dataclasses.replace(sample_config, model=_model_to_sample(sample_config, common, trained))
        sampled = run_sampling(sample_config, common.root, contextlib.nullcontext)
        done("sample")
    others = baselines(corpus, "val")
    done("report")
    figures = {"model": trained["val_bits_per_byte"], **others}
    _report(common, built, trained, sampled, figures)
    return {
        "recipe": common.recipe_name,
        "root": common.root,
        "corpus": built["url"],
        "model": trained["model"],
        "samples": sampled["samples"],
        "val_bits_per_byte": {name: round(value, 4) for name, value in figures.items()},
        "seconds": seconds,
    }


def _model_to_sample(config: SampleConfig, common: Common, trained: dict[str, Any]) -> str:
    """The model that the report is about, which need not be the champion; unless the recipe names another."""
    return str(trained["model"]) if config.model == f"models:/{common.recipe_name}@champion" else config.model


def _report(
    common: Common,
    built: dict[str, Any],
    trained: dict[str, Any],
    sampled: dict[str, Any],
    figures: dict[str, float],
) -> None:
    """Say what came out, where everything is, and how to go on."""
    first = json.loads(storage.read_bytes(sampled["samples"]).split(b"\n")[0])["file"]
    shown = storage.join(sampled["output"], first)
    text = storage.read_range(shown, 0, 4000).decode("utf-8", "replace")
    excerpt = "\n".join(f"    {line}" for line in text.splitlines()[1 : EXCERPT_LINES + 1])
    table = "   ".join(f"{name} {value:.3f}" for name, value in figures.items())
    root = common.root
    log.info(
        f"""
an excerpt of {shown}:

{excerpt}

bits per byte on the validation text:  {table}

corpus   {built["url"]}
run      {trained["run"]}
model    {trained["model"]}, tracked at {trained["tracking_uri"]}
samples  {sampled["samples"]}

go on:   mlflow ui --backend-store-uri {trained["tracking_uri"]}
         python jobs/sample.py --root {root} --model {trained["model"]} --temperature 0.5 --seed 2 --output {root}/samples/safer
         python jobs/reproduce.py --recipe PATH   (a recipe of your own; see jobs/recipes/)"""
    )


if __name__ == "__main__":
    run_command(__doc__ or "", "reproduce", ReproduceConfig, reproduce)
