"""Run a recipe from source to report: corpus, training, registered model, samples, and figures
beside xz's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

try:
    from jobs.command import Common, Job, late
except ModuleNotFoundError as missing:  # a Python without the package
    from uninstalled import refuse  # type: ignore[import-not-found]  # it lies beside this file

    refuse(missing)
from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.hints import command
from pipeline.registry.names import check_recipe_name
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig
from pipeline.training.preflight import check_machine

log = logging.getLogger("unreasonable")


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """Nothing of its own: every setting is in the recipe's sections."""


def run(_: ReproduceConfig, common: Common) -> dict[str, Any]:
    check_recipe_name(common.recipe_name)
    corpus = common.section("corpus", CorpusConfig)
    train = common.section("train", TrainConfig)
    sample = common.section("sample", SampleConfig)
    check_machine(train.workers[0], train.cpus_per_worker, use_gpu=train.use_gpu)
    # Of sampling the GPU alone: its actors wait for a CPU where there are fewer.
    check_machine(1, use_gpu=sample.use_gpu)
    from cluster.connect import node_count, ray_session
    from pipeline.registry.tracking import check_tracking
    from pipeline.reproducing.report import report
    from pipeline.reproducing.stages import Recipe, StageTimes, reproduce
    from pipeline.tasks import ray_runner

    recipe = Recipe(name=common.recipe_name, corpus=corpus, train=train, sample=sample)
    check_tracking(common.root)
    storage.check_writable(common.root)
    # One Ray for all stages: to start it takes 5-10 s.
    times = StageTimes()
    with ray_session():
        storage.check_reachable_by(common.root, node_count())
        times.done("start")
        done = reproduce(recipe, common.root, ray_runner(), times)
    if done.trained.stopped:
        resume = f"{command('train')} --root {common.root} --resume {done.trained.run_id}"
        log.info("stopped; go on: %s", resume)
    else:
        log.info("%s", report(done))
    return done.to_json()


JOB = Job(
    description=__doc__ or "",
    section="reproduce",
    config_class=ReproduceConfig,
    run=run,
    also={"corpus": CorpusConfig, "train": TrainConfig, "sample": SampleConfig},
    short=(
        "corpus.source",
        "train.max_steps",
        "train.max_minutes",
        "train.num_workers",
        "sample.num_files",
        "sample.num_chars",
        "sample.temperature",
    ),
    plan=late("jobs.plans", "reproduce_plan"),
)
main = JOB.main

if __name__ == "__main__":
    main()
