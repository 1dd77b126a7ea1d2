"""Run a recipe from source to report: corpus, training, registered model, samples, evaluation,
explanation, and the recipe's claims judged. A gate that fails gives exit status 1.
"""

from __future__ import annotations

import logging
from typing import Any

try:
    from jobs.command import Common, Job, Parser, late, show_table
except ModuleNotFoundError as missing:  # a Python without the package
    from uninstalled import refuse  # type: ignore[import-not-found]  # it lies beside this file

    refuse(missing)
from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.evaluation.config import EvaluateConfig
from pipeline.explaining.config import ExplainConfig
from pipeline.hints import command
from pipeline.registry.names import check_recipe_name
from pipeline.reproducing.claims import read_claims
from pipeline.reproducing.config import ReproduceConfig
from pipeline.reproducing.recipe import EVALUATE, EXPLAIN, Recipe
from pipeline.sampling.config import SampleConfig
from pipeline.settings import configured, over
from pipeline.training.config import TrainConfig
from pipeline.training.preflight import check_machine

log = logging.getLogger("unreasonable")


def recipe_of(config: ReproduceConfig, common: Common) -> Recipe:
    """The recipe's sections as settings, every one checked before anything runs."""
    evaluate = configured(EvaluateConfig, over(EVALUATE, common.recipe["evaluate"]), "evaluate")
    explain = configured(ExplainConfig, over(EXPLAIN, common.recipe["explain"]), "explain")
    return Recipe(
        name=common.recipe_name,
        corpus=common.section("corpus", CorpusConfig),
        train=common.section("train", TrainConfig),
        sample=common.section("sample", SampleConfig),
        evaluate=evaluate if config.runs("evaluate") else None,
        explain=explain if config.runs("explain") else None,
        kind=str(common.recipe.get("kind", "")),
        claims=read_claims(common.recipe.get("claims", []), common.recipe_name),
    )


def run(config: ReproduceConfig, common: Common) -> dict[str, Any]:
    check_recipe_name(common.recipe_name)
    recipe = recipe_of(config, common)
    train = recipe.train
    check_machine(train.workers[0], train.cpus_per_worker, use_gpu=train.use_gpu)
    # Of sampling the GPU alone: its actors wait for a CPU where there are fewer.
    check_machine(1, use_gpu=recipe.sample.use_gpu)
    check_installed(recipe)
    from cluster.connect import node_count, ray_session
    from pipeline.registry.looking import existing_uri
    from pipeline.registry.tracking import check_tracking
    from pipeline.reproducing.report import report
    from pipeline.reproducing.stages import StageTimes, reproduce
    from pipeline.tasks import ray_runner

    existing_uri(common.root)  # refuses a remote root without a tracking server
    storage.check_writable(common.root)
    check_tracking(common.root)
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


def check_installed(recipe: Recipe) -> None:
    """Refuse before the training what would be refused behind it: a library that is missing."""
    if recipe.evaluate is None:
        return
    from pipeline.evaluation import compressors, plots
    from pipeline.evaluation.structure.check import Checker

    plots.check_installed()
    if recipe.evaluate.baselines:
        compressors.check_installed()
    kind = recipe.evaluate.kind or recipe.kind
    if kind:
        # Each kind has parsers of its own, and imports them when a text comes.
        Checker.of(kind, b"").report({"nothing": b""})


def hello(_: dict[str, Any], common: Common) -> dict[str, Any]:
    """The post's four letters, which are no corpus: learned here, in a second, and shown."""
    from pipeline.evaluation import plots
    from pipeline.evaluation.report import page
    from pipeline.reproducing.hello import LETTERS, sections
    from pipeline.reproducing.hello import hello as learned

    plots.check_installed()
    storage.check_writable(common.root)
    found = learned()
    folder = storage.join(common.root, "reproductions", "hello")
    report = storage.join(folder, "report.html")
    storage.write_bytes(report, page("hello", sections(found)).encode())
    storage.write_json(storage.join(folder, "report.json"), found.to_json())
    table = [("letter", "next", "", *LETTERS)]
    for each in found.transitions:
        for when, scores in (("first", each.first), ("one update", each.after_one)):
            figures = (f"{score:.2f}" for score in scores)
            table.append((each.letter, each.target, when, *figures))
    show_table(table)
    log.info("report: %s", report)
    failed = found.learned < len(found.transitions)
    return {"learned": found.learned, "report": report, "exit_status": int(failed)}


def extra(parser: Parser) -> None:
    parser.add_argument(
        "--hello",
        action="store_true",
        help="the post's four letters and three hidden units, in place of a recipe",
    )


JOB = Job(
    description=__doc__ or "",
    section="reproduce",
    config_class=ReproduceConfig,
    run=run,
    extra=extra,
    instead={"hello": hello},
    also={
        "corpus": CorpusConfig,
        "train": TrainConfig,
        "sample": SampleConfig,
        "evaluate": EvaluateConfig,
        "explain": ExplainConfig,
    },
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
