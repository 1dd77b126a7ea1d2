"""What a run leaves on a tracking server: its record, its rows, its model. Each can be made again.

A server may be away when a run ends, or at any step of its end. Nothing here trains, so `sync_run`
does what is left without Ray.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.errors import DamagedError, DivergedError, InputError, TrackingError
from pipeline.hints import command
from pipeline.lease import held
from pipeline.model.artifact import ARTIFACT, CARD, WEIGHTS, parse_about, read_files
from pipeline.registry.champion import division_tags, promote_if_better
from pipeline.registry.models import SETTINGS_TAG, Models, ModelVersion
from pipeline.registry.patience import ANSWER_S, within
from pipeline.registry.publication import publishable
from pipeline.registry.tracking import Tracking, best_effort
from pipeline.training.config import ENDS, MAY_CHANGE, TrainConfig, settings_digest
from pipeline.training.loop import RunResult
from pipeline.training.preflight import started
from pipeline.training.publisher import Link, Publisher

log = logging.getLogger("unreasonable")

PARAMETERS_TAG = "parameters"
_NOT_PARAMS = ("resume", "sync")  # what a session was told, and no setting of the run


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


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run under a root: what it is started with, and the name that its model gets."""

    root: str
    run_id: str
    name: str
    config: TrainConfig
    corpus: Corpus

    @property
    def url(self) -> str:
        return runs.run_url(self.root, self.run_id)


def connect(run: Run) -> Link:
    """Record a run, or find its record.

    Its params are the settings that it was started with, since a param cannot change; those that
    may differ on resume are tags too, with what the newest session has.
    """
    tracking = Tracking(run.root)
    settings = {key: str(value) for key, value in asdict(run.config).items()}
    params = {key: value for key, value in settings.items() if key not in _NOT_PARAMS}
    tags = {key: value for key, value in settings.items() if key in MAY_CHANGE | ENDS}
    tags[PARAMETERS_TAG] = str(_parameters(run))
    mlflow_id = tracking.start_run(run.name, run.run_id, params, tags, run.corpus)
    with best_effort("the run's settings"):
        tracking.log_config(mlflow_id, asdict(run.config))
    return Link(tracking, mlflow_id)


def finish(run: Run, link: Link | None, result: RunResult) -> TrainedRun:
    """Register a trained run's best model, let it compete, and mark the run as finished.

    Whatever of it was done before is found, and not done twice. A server that does not answer is
    an InputError that says how to go on.
    """
    best = _best_whole(run, result)
    try:
        if link is None:
            raise TrackingError("the tracking server has not recorded the run.")
        # A short question first: a registration is a dozen of them.
        tracking = link.tracking
        within(ANSWER_S, f"the tracking server at {tracking.uri}", tracking.check)
        version, promoted = _register(run, link, *best)
    except InputError as error:  # away, or a password that is no longer good
        raise InputError(
            f"{error} Run {run.run_id} is trained, and its model is not registered yet; when the "
            f"server answers: {command('train')} --root {run.root} --sync {run.run_id}"
        ) from None
    # Last: with it a run is finished, and refused to whoever would resume it.
    end = {"model": version.uri, "mlflow_run_id": link.mlflow_id, **result.to_json()}
    storage.write_json(storage.join(run.url, runs.END), end)
    if result.diverged:
        with best_effort("the run's end"):  # registering a model calls its run finished
            link.tracking.end_run(link.mlflow_id, status_of(result))
        raise DivergedError(
            f"{result.diverged}. The best model of before, of step {result.best.step}, is "
            f"{version.uri}; its rows are in {run.url}. {_after_divergence(run)}"
        )
    return dataclasses.replace(report(run, link, result), champion=promoted, **figures(version))


def status_of(result: RunResult) -> str:
    """How MLflow calls the end of a run."""
    if result.diverged:
        return "FAILED"
    return "KILLED" if result.stopped else "FINISHED"


def report(run: Run, link: Link | None, result: RunResult | None) -> TrainedRun:
    """What a job says of a run whose model is not registered."""
    return TrainedRun(
        run_id=run.run_id,
        run=run.url,
        tracking_uri=link.tracking.uri if link else "",
        mlflow_run_id=link.mlflow_id if link else "",
        corpus=f"{run.corpus.name}@{run.corpus.version}",
        result=result,
    )


def figures(version: ModelVersion) -> dict[str, Any]:
    """What a job says of a registered version."""
    return {
        "model": version.uri,
        "val_loss": float(version.tags["val_loss"]),
        "val_bits_per_byte": float(version.tags["val_bits_per_byte"]),
    }


def sync_run(root: str, run_id: str) -> TrainedRun:
    """Tell the tracking server what it has not heard of a run: rows, samples, its end, its model.

    A model is registered when the run had come to its end. InputError while a process works at it.
    """
    start = started(root, run_id, finished=True)
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    settings = {key: value for key, value in start.config.items() if key in known}
    config = TrainConfig(**settings)
    run = Run(
        root=root,
        run_id=run_id,
        name=start.recipe,
        config=config,
        corpus=open_corpus(root, f"{start.corpus.name}@{start.corpus.version}"),
    )
    with held(storage.join(run.url, runs.LEASE), f"run {run_id}", lambda: None):
        return _sync(run)


def _sync(run: Run) -> TrainedRun:
    trained = storage.join(run.url, runs.TRAINED)
    result = RunResult.from_json(storage.read_json(trained)) if storage.exists(trained) else None
    publisher = Publisher(lambda: connect(run), run.url)
    publisher.status = status_of(result) if result else "KILLED"
    if not publisher.publish(is_last=True):
        raise InputError(f"run {run.run_id} was not sent: see the line above; try again later.")
    link = publisher.link
    if storage.exists(storage.join(run.url, runs.END)):
        log.info("run %s: its rows are there, and its model was registered before", run.run_id)
    elif result is None:
        log.info("run %s: its rows are there; it has not come to its end", run.run_id)
    else:
        return finish(run, link, result)
    return report(run, link, result)


def _register(run: Run, link: Link, checkpoint: str, weights: bytes) -> tuple[ModelVersion, bool]:
    """The version of a run's best model, and whether it is champion."""
    models = Models(link.tracking)
    version = models.registered_as(run.name, run.run_id, weights)
    if version is None:
        files = publishable(checkpoint, run.name, run.corpus, run.root)
        with best_effort("the model's card, which has a sample"):
            models.tracking.log_texts(link.mlflow_id, {CARD: files[CARD]})
        # The settings that the checkpoint was made with: the session that ends a run may have
        # others.
        made_with = settings_digest(parse_about(files, run.name).train)
        tags = {SETTINGS_TAG: made_with, **division_tags(run.corpus)}
        version = models.register(run.name, link.mlflow_id, run.run_id, files, tags)
    return version, promote_if_better(models, version, run.corpus, run.config.eval_lanes)


def _after_divergence(run: Run) -> str:
    fork = f"{command('train')} --root {run.root} --fork {run.run_id} --learning_rate ..."
    return (
        f"Lower --learning_rate or the clipping limit in a new run, or from where it stands: {fork}"
    )


def _best_whole(run: Run, result: RunResult) -> tuple[str, bytes]:
    """The best checkpoint whose model is not damaged, and its weights."""
    for name in runs.ranked(run.url):
        url = storage.join(run.url, name)
        try:
            return url, read_files(url, ARTIFACT)[WEIGHTS]
        except DamagedError as error:
            log.warning("%s The next best checkpoint is registered instead.", error)
    if result.diverged:
        raise DivergedError(
            f"{result.diverged}, before any evaluation was good; no model is registered. "
            "Lower --learning_rate or the clipping limit, and start a new run."
        )
    raise InputError(f"run {run.run_id} has no evaluated checkpoint to register; train longer.")


def _parameters(run: Run) -> int:
    """How many weights the run's model has."""
    shapes = run.config.model(len(run.corpus.vocab)).shapes()
    return sum(math.prod(shape) for shape in shapes.values())
