"""One training run from end to end: trained on Ray, shown in MLflow, its best model registered."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
from contextlib import nullcontext
from dataclasses import asdict

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus
from pipeline.lease import Lease, held
from pipeline.model.about import CorpusReference
from pipeline.registry.fetch import fetch_model
from pipeline.registry.models import Models
from pipeline.registry.system_metrics import system_metrics
from pipeline.registry.tracking import RUN_TAG, Tracking
from pipeline.training.config import TrainConfig, settings_digest
from pipeline.training.finishing import Run, TrainedRun, connect, figures, finish, report, status_of
from pipeline.training.forking import fork_run
from pipeline.training.on_ray import check_resources, run_training
from pipeline.training.preflight import RunStart, say_changes
from pipeline.training.publisher import Publisher

log = logging.getLogger("unreasonable")


def run_experiment(config: TrainConfig, root: str, name: str, corpus: Corpus) -> TrainedRun:
    """Train, register the best checkpoint as the next version of model `name`, let it compete.

    The champion rule decides whether it takes the alias. A run that was asked to stop is not
    registered; it can be resumed. InputError while another process works at the run, DivergedError
    for a run that diverged, once its best model is registered.
    """
    check_resources(config)  # before the run is recorded anywhere
    run_id = config.resume or runs.given_run_id(root) or runs.new_run_id()
    url = runs.run_url(root, run_id)
    with held(storage.join(url, runs.LEASE), f"run {run_id}", _stop) as lease:
        if not config.resume:
            config = _prepare(config, root, url, name, corpus)
        else:
            say_changes(RunStart.read(url).config, config)
        run = Run(root=root, run_id=run_id, name=name, config=config, corpus=corpus)
        return _run(run, lease)


def _run(run: Run, lease: Lease) -> TrainedRun:
    """`run_experiment`, while the run's lease is held."""
    log.info("run %s: %s", run.run_id, run.url)
    trained = storage.join(run.url, runs.TRAINED)
    if storage.exists(trained):
        storage.remove(trained)  # it may go on further than it went before
    publisher = Publisher(lambda: connect(run), run.url)
    link = publisher.begin()
    status = "FAILED"  # unless training returns
    try:
        with system_metrics(link.mlflow_id, link.tracking.uri) if link else nullcontext():
            result = run_training(run.config, run.root, run.run_id, run.name, run.corpus)
            lease.check()
        status = status_of(result)
        if not result.stopped:
            # Before the server is told anything: it may never answer.
            storage.write_json(trained, result.to_json())
    finally:
        publisher.stop(status)
    if result.stopped:
        return report(run, publisher.link, result)
    return finish(run, publisher.link, result)


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
        **figures(version),
    )


def _prepare(config: TrainConfig, root: str, run: str, name: str, corpus: Corpus) -> TrainConfig:
    """Write what the run starts with: start.json, and the model that it starts from.

    Returns the settings resolved.
    """
    if config.init_from and not config.fork:
        artifact = fetch_model(config.init_from, root)
        # The version, not the alias, which may move before the run is resumed.
        config = dataclasses.replace(config, init_from=artifact.uri)
        runs.write_checkpoint(storage.join(run, runs.INIT), artifact.files)
    if config.fork:
        fork_run(runs.run_url(root, config.fork), run, config)
    reference = CorpusReference(corpus.name, corpus.version, corpus.fingerprint)
    RunStart(reference, name, asdict(config)).write(run)
    return config
