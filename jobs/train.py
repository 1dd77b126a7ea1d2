"""Train a model on a corpus with Ray Train, track it in MLflow, and register the best checkpoint."""

from __future__ import annotations

import logging
from typing import Any

from jobs.command import Common, announce, flag_value, run_command
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import latest, split_reference
from pipeline.training.config import TrainConfig
from pipeline.training.preflight import check_run, started

log = logging.getLogger("unreasonable")


def train(config: TrainConfig, common: Common) -> dict[str, Any]:
    from cluster.connect import node_count, ray_session
    from pipeline.storage import check_reachable_by

    missing = _missing_corpus(config, common)
    if not missing:
        check_run(config, common.root)
    announce("train", config)
    from pipeline.registry import tracking_uri

    tracking_uri(common.root)  # refuses a remote root without a tracking server, before anything starts
    with ray_session():
        check_reachable_by(common.root, node_count())
        if missing:
            from pipeline.corpora.build import build_corpus, ray_runner

            build_corpus(missing, common.root, ray_runner())
        from pipeline.experiment import run_experiment

        result = run_experiment(config, common.root, _model_name(config, common), check_run(config, common.root))
    if result["stopped"]:
        command = f"python jobs/train.py --root {common.root} --resume {result['run_id']}"
        log.info("stopped at step %d; go on: %s", result["step"], command)
    else:
        log.info(
            "val_loss %.4f, %.4f bits per byte; %s%s", result["val_loss"], result["val_bits_per_byte"], result["model"],
            ", the champion" if result["champion"] else ""
        )  # fmt: skip
        log.info("next: python jobs/sample.py --root %s --model %s", common.root, result["model"])
    return result


def _model_name(config: TrainConfig, common: Common) -> str:
    """The recipe's name; or the corpus's, when it is not the recipe's corpus that is learned."""
    name, _ = split_reference(config.corpus)
    return common.recipe_name if config.resume or name == common.recipe["corpus"].get("name") else name


def resumed(recipe: dict[str, Any], root: str, argv: list[str]) -> dict[str, Any]:
    """With --resume RUN_ID, the settings and the corpus version that the run was started with."""
    run_id = flag_value(argv, "--resume")
    if not run_id:
        return recipe
    start = started(root, run_id)
    corpus = f"{start['corpus']['name']}@{start['corpus']['version']}"
    return {**recipe, "name": start["recipe"], "train": {**start["config"], "corpus": corpus}}


def _missing_corpus(config: TrainConfig, common: Common) -> CorpusConfig | None:
    """The recipe's corpus when the run needs it and it has not been built yet."""
    name, version = split_reference(config.corpus)
    if version or latest(common.root, name) or name != common.recipe["corpus"].get("name"):
        return None
    return common.section("corpus", CorpusConfig)


if __name__ == "__main__":
    run_command(__doc__ or "", "train", TrainConfig, train, revise=resumed)
