"""Train a model on a corpus with Ray Train, track it in MLflow, and register the best
checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

try:
    from jobs.command import Common, Job, announce, late
except ModuleNotFoundError as missing:  # a Python without the package
    from uninstalled import refuse  # type: ignore[import-not-found]  # it lies beside this file

    refuse(missing)
from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import latest, split_reference
from pipeline.errors import InputError
from pipeline.hints import command
from pipeline.registry.names import check_recipe_name
from pipeline.training.config import TrainConfig
from pipeline.training.preflight import check_machine, check_run, started

if TYPE_CHECKING:
    from pipeline.corpora.manifest import Corpus
    from pipeline.training.finishing import TrainedRun

log = logging.getLogger("unreasonable")


def train(config: TrainConfig, common: Common) -> dict[str, Any]:
    from cluster.connect import node_count, ray_session

    if config.sync:
        return _sync(config.sync, common.root)
    # Bad input is refused before Ray starts; a corpus that is still to be built is checked after.
    check_machine(config.workers[0], config.cpus_per_worker, use_gpu=config.use_gpu)
    missing = _corpus_to_build(config, common)
    if not missing:
        _say_if_older(check_run(config, common.root), config, common)
    check_recipe_name(_model_name(config, common))
    from pipeline.registry.looking import existing_uri
    from pipeline.registry.tracking import check_tracking

    existing_uri(common.root)  # refuses a remote root without a tracking server
    storage.check_writable(common.root)
    check_tracking(common.root)
    if config.init_from and not (config.resume or config.fork):
        from pipeline.registry.fetch import fetch_model

        fetch_model(config.init_from, common.root)  # raises for a model that is not there
    announce("train", config)
    with ray_session():
        storage.check_reachable_by(common.root, node_count())
        # Late: importing it takes torch's 3 s, and ray.train's.
        from pipeline.training.run import run_experiment

        if missing:
            from pipeline.corpora.build import build_corpus
            from pipeline.registry.fetch import frozen_vocab
            from pipeline.tasks import ray_runner

            frozen = frozen_vocab(missing.vocab_from, common.root)
            build_corpus(missing, common.root, ray_runner(), frozen=frozen)
        corpus = check_run(config, common.root)
        trained = run_experiment(config, common.root, _model_name(config, common), corpus)
    _say_where(trained, common.root)
    return trained.to_json()


def _sync(run_id: str, root: str) -> dict[str, Any]:
    """Without Ray: nothing is trained."""
    from pipeline.training.finishing import sync_run

    trained = sync_run(root, run_id)
    if trained.model:
        _say_where(trained, root)
    return trained.to_json()


def _say_if_older(corpus: Corpus, config: TrainConfig, common: Common) -> None:
    """Warn when the recipe's corpus was last built with other settings than the recipe has now.

    The newest version is what a run learns: a schedule, or a build by hand, decides what that is.
    """
    name, version = split_reference(config.corpus)
    if version or config.resume or config.fork or name != common.recipe["corpus"].get("name"):
        return
    try:
        wanted = common.section("corpus", CorpusConfig).shaping()
    except InputError:  # a recipe whose text is a person's own, and the corpus is there already
        return
    built = corpus.manifest.corpus
    others = [key for key, value in wanted.items() if key in built and built[key] != value]
    if others:
        log.warning(
            "corpus %s@%s was built with another %s than the recipe has; to build it anew: %s",
            name,
            corpus.version,
            ", ".join(sorted(others)),
            f"{command('build-corpus')} --root {common.root} --recipe {common.flags['recipe']}",
        )


def _say_where(trained: TrainedRun, root: str) -> None:
    """Log where the result is, and what to run next."""
    if trained.stopped:
        assert trained.result is not None
        resume = f"{command('train')} --root {root} --resume {trained.run_id}"
        log.info("stopped at step %d; go on: %s", trained.result.step, resume)
        return
    log.info(
        "val_loss %.4f, %.4f bits per byte; %s%s",
        trained.val_loss,
        trained.val_bits_per_byte,
        trained.model,
        ", the champion" if trained.champion else "",
    )
    log.info("next: %s --root %s --model %s", command("sample"), root, trained.model)


def _model_name(config: TrainConfig, common: Common) -> str:
    """The recipe's name; or the corpus's, when it is not the recipe's corpus that is learned."""
    name, _ = split_reference(config.corpus)
    is_own_corpus = name == common.recipe["corpus"].get("name")
    goes_on = bool(config.resume or config.fork)
    return common.recipe_name if goes_on or is_own_corpus else name


def resumed(recipe: dict[str, Any], root: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """With --resume, --fork or --sync RUN_ID, the settings and the corpus version that the run was
    started with.
    """
    given = [name for name in ("resume", "fork", "sync") if settings.get(name)]
    if not given:
        return recipe
    if len(given) > 1:
        raise InputError(f"--{given[0]} and --{given[1]} are two things to do; give one of them.")
    start = started(root, settings[given[0]], finished=given != ["resume"])
    own = {**start.config, "corpus": str(start.corpus)}
    return {**recipe, "name": start.recipe, "train": own}


def _corpus_to_build(config: TrainConfig, common: Common) -> CorpusConfig | None:
    """The recipe's corpus when the run needs it and it has not been built, or is to be built from
    another source than it was.
    """
    name, version = split_reference(config.corpus)
    is_own_corpus = name == common.recipe["corpus"].get("name")
    is_changed = "corpus" in common.changed
    if is_changed and (version or not is_own_corpus):
        raise InputError(
            f"the run learns corpus {config.corpus}, which is not built here; leave out --source "
            "and corpus.SETTING=VALUE, or learn the recipe's own corpus."
        )
    if version or not is_own_corpus or (latest(common.root, name) and not is_changed):
        return None
    corpus = common.section("corpus", CorpusConfig)
    from pipeline.corpora.build import up_to_date

    return None if is_changed and up_to_date(corpus, common.root) else corpus


JOB = Job(
    description=__doc__ or "",
    section="train",
    config_class=TrainConfig,
    run=train,
    revise=resumed,
    also={"corpus": CorpusConfig},
    short=("corpus.source",),
    plan=late("jobs.plans", "train_plan"),
)
main = JOB.main

if __name__ == "__main__":
    main()
