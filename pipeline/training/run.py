"""One training run from end to end: trained on Ray, shown in MLflow, its best model registered."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import signal
import threading
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.lease import Lease, held
from pipeline.model.about import CorpusReference
from pipeline.model.artifact import CARD, parse_about
from pipeline.registry.champion import division_tags, promote_if_better
from pipeline.registry.fetch import fetch_model
from pipeline.registry.models import SETTINGS_TAG, Models, ModelVersion
from pipeline.registry.publication import publishable
from pipeline.registry.system_metrics import system_metrics
from pipeline.registry.tracking import RUN_TAG, Tracking, best_effort
from pipeline.training import journal
from pipeline.training.config import ENDS, MAY_CHANGE, TrainConfig, settings_digest
from pipeline.training.loop import RunResult
from pipeline.training.on_ray import check_resources, run_training
from pipeline.training.preflight import RunStart

log = logging.getLogger("unreasonable")

PUBLISH_EVERY_S = 3.0
PARAMETERS_TAG = "parameters"


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A training run as its job reports it.

    `result` is None for a model that was there already, of which `champion` is not asked. A run
    that was asked to stop has no model yet: `model` is "". What is not known is left out of the
    JSON.
    """

    run_id: str
    run: str
    tracking_uri: str
    mlflow_run_id: str = ""
    corpus: str = ""
    result: RunResult | None = None
    model: str = ""
    champion: bool | None = None
    val_loss: float | None = None
    val_bits_per_byte: float | None = None

    @property
    def stopped(self) -> bool:
        return self.result is not None and self.result.stopped

    def to_json(self) -> dict[str, Any]:
        value = asdict(self)
        del value["result"]
        known = {key: item for key, item in value.items() if item not in ("", None)}
        return known | (self.result.to_json() if self.result else {})


def run_experiment(config: TrainConfig, root: str, name: str, corpus: Corpus) -> TrainedRun:
    """Train, register the best checkpoint as the next version of model `name`, let it compete.

    The champion rule decides whether it takes the alias. A run that was asked to stop is not
    registered; it can be resumed. InputError while another process works at the run.
    """
    check_resources(config)  # before the run is recorded anywhere
    run_id = config.resume or runs.new_run_id()
    folder = storage.join(runs.run_url(root, run_id), runs.LEASE)
    with held(folder, f"run {run_id}", _stop) as lease:
        return _run(config, root, run_id, name, corpus, lease)


def _run(
    config: TrainConfig, root: str, run_id: str, name: str, corpus: Corpus, lease: Lease
) -> TrainedRun:
    """`run_experiment`, while the run's lease is held."""
    run = runs.run_url(root, run_id)
    tracking = Tracking(root)
    if not config.resume:
        config = _prepare(config, root, run, name, corpus)
    mlflow_id = _start_tracking(tracking, name, run_id, config, corpus)
    log.info("run %s: %s", run_id, run)
    publisher = Publisher(tracking, mlflow_id, run)
    publisher.start()
    status = "FAILED"  # unless training returns
    try:
        with system_metrics(mlflow_id, tracking.uri):
            result = run_training(config, root, run_id, name, corpus)
            lease.check()
        status = "KILLED" if result.stopped else "FINISHED"
    finally:
        publisher.stop()
        with best_effort("the run's end"):
            tracking.end_run(mlflow_id, status)
    trained = TrainedRun(
        run_id=run_id,
        run=run,
        tracking_uri=tracking.uri,
        mlflow_run_id=mlflow_id,
        corpus=f"{corpus.name}@{corpus.version}",
        result=result,
    )
    if result.stopped:
        return trained
    models = Models(tracking)
    version = _register_best(models, trained, root, name, corpus)
    promoted = promote_if_better(models, version, corpus, config.eval_lanes)
    # Last: with it a run is finished, and refused to whoever would resume it.
    end = {"model": version.uri, "mlflow_run_id": mlflow_id, **result.to_json()}
    storage.write_json(storage.join(run, runs.END), end)
    return dataclasses.replace(trained, champion=promoted, **_registered(version))


def _stop() -> None:
    """Stop this process's work in order, as a signal would: another one has taken the run over."""
    log.error("another process has taken the run over; stopping")
    os.kill(os.getpid(), signal.SIGTERM)


def ensure_trained(config: TrainConfig, root: str, name: str, corpus: Corpus) -> TrainedRun:
    """`run_experiment`, unless a model of these settings and this corpus version is registered."""
    tracking = Tracking(root)
    settings = settings_digest(asdict(config))
    version = Models(tracking).trained(name, settings, corpus.fingerprint)
    if version is None:
        return run_experiment(config, root, name, corpus)
    run_id = version.tags[RUN_TAG]
    log.info("model %s: %s was trained with these settings on this corpus", name, version.uri)
    return TrainedRun(
        run_id=run_id,
        run=runs.run_url(root, run_id),
        tracking_uri=tracking.uri,
        **_registered(version),
    )


def _prepare(config: TrainConfig, root: str, run: str, name: str, corpus: Corpus) -> TrainConfig:
    """Write what the run starts with: start.json, and the model that it starts from.

    Returns the settings resolved.
    """
    if config.init_from:
        artifact = fetch_model(config.init_from, root)
        # The version, not the alias, which may move before the run is resumed.
        config = dataclasses.replace(config, init_from=artifact.uri)
        runs.write_checkpoint(storage.join(run, runs.INIT), artifact.files)
    reference = CorpusReference(corpus.name, corpus.version, corpus.fingerprint)
    RunStart(reference, name, asdict(config)).write(run)
    return config


def _start_tracking(
    tracking: Tracking, name: str, run_id: str, config: TrainConfig, corpus: Corpus
) -> str:
    """The run in MLflow, whose id is returned.

    Its params are the settings that it was started with, since a param cannot change; those that
    may differ on resume are tags too, with what the newest session has.
    """
    settings = {key: str(value) for key, value in asdict(config).items()}
    params = {key: value for key, value in settings.items() if key != "resume"}
    tags = {key: value for key, value in settings.items() if key in MAY_CHANGE | ENDS}
    tags[PARAMETERS_TAG] = str(_parameters(config, corpus))
    mlflow_id = tracking.start_run(name, run_id, params, tags, corpus)
    with best_effort("the run's settings"):
        tracking.log_config(mlflow_id, asdict(config))
    return mlflow_id


def _parameters(config: TrainConfig, corpus: Corpus) -> int:
    """How many weights the run's model has."""
    shapes = config.model(len(corpus.vocab)).shapes()
    return sum(math.prod(shape) for shape in shapes.values())


def _register_best(
    models: Models, trained: TrainedRun, root: str, name: str, corpus: Corpus
) -> ModelVersion:
    """Register the checkpoint with the lowest validation loss."""
    best = runs.best(trained.run)
    if best is None:
        raise InputError(
            f"run {trained.run_id} has no evaluated checkpoint to register; train longer."
        )
    files = publishable(storage.join(trained.run, best), name, corpus, root)
    with best_effort("the model's card, which has a sample"):
        models.tracking.log_texts(trained.mlflow_run_id, {CARD: files[CARD]})
    # The settings that the checkpoint was made with: the session that ends a run may have others.
    tags = {SETTINGS_TAG: settings_digest(parse_about(files, name).train), **division_tags(corpus)}
    return models.register(name, trained.mlflow_run_id, trained.run_id, files, tags)


def _registered(version: ModelVersion) -> dict[str, Any]:
    """What a job says of a registered version."""
    return {
        "model": version.uri,
        "val_loss": float(version.tags["val_loss"]),
        "val_bits_per_byte": float(version.tags["val_bits_per_byte"]),
    }


class Publisher(threading.Thread):
    """Sends rows of a run's journal, and its sample texts, to MLflow while it trains.

    Each row goes once, when a checkpoint has made it final: what a lost worker's steps left behind
    the newest checkpoint will be computed again.
    """

    def __init__(self, tracking: Tracking, mlflow_id: str, run: str) -> None:
        super().__init__(daemon=True, name="journal-publisher")
        self.tracking = tracking
        self.mlflow_id = mlflow_id
        self.run_folder = run
        self.published = tracking.published_step(mlflow_id)
        self.last_seen: str | None = None
        self.sent: set[str] = set()  # sample texts, by name
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(PUBLISH_EVERY_S):
            self._publish()

    def stop(self) -> None:
        """Send what is left, then end."""
        self.ended.set()
        self.join()
        self._publish()
        self._publish_samples()

    def _publish(self) -> None:
        with best_effort("new metrics"):
            newest = runs.newest(self.run_folder)
            if newest is None or newest == self.last_seen:
                return
            final = runs.step_of(newest)
            data = storage.read_bytes(storage.join(self.run_folder, runs.METRICS))
            # The journal is written before its checkpoint, so it may hold rows behind the newest.
            rows = [row for row in journal.rows(data) if self.published < row["step"] <= final]
            self.tracking.log_rows(self.mlflow_id, rows)
            # Only once they were sent: a failed attempt is made again.
            self.published = final
            self.last_seen = newest
            # Beside checkpoints alone: to list a folder of a store every few seconds costs money.
            self._publish_samples()

    def _publish_samples(self) -> None:
        with best_effort("new samples"):
            folder = storage.join(self.run_folder, runs.SAMPLES)
            new = [name for name in storage.names(folder) if name not in self.sent]
            if not new:
                return
            texts = {name: storage.read_bytes(storage.join(folder, name)) for name in new}
            self.tracking.log_texts(self.mlflow_id, texts)
            self.sent.update(new)
