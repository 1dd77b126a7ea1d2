"""A tracking server: runs, their metrics and files, and what they read.

Identity is ours: a run is found by its `unreasonable.run_id` tag, because servers mint ids of their
own. Only drivers talk to the server, never workers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, Metric, Param
from mlflow.exceptions import MlflowException

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError, TrackingError, says_status
from pipeline.registry.origin import origin_tags
from pipeline.registry.patience import ANSWER_S, is_passing, limit_requests, within

log = logging.getLogger("unreasonable")

RUN_TAG = "unreasonable.run_id"
PUBLISHED_TAG = "unreasonable.published_step"
OUTPUT_TAG = "unreasonable.output"
CONFIG_FILE = "config.yaml"
SAMPLES_FOLDER = "samples"
SCHEDULES = "schedules"  # the experiment of scheduled jobs
ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"  # MLflow's code
SQLITE = "sqlite:///"
_METRICS_A_CALL = 1000  # the server's limit


def tracking_uri(root: str) -> str:
    """$MLFLOW_TRACKING_URI, else SQLite under a local root. A remote root without a server is an
    InputError.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return given
    if not storage.is_local(root):
        raise InputError(
            f"root {root} is remote, so models need a tracking server: set MLFLOW_TRACKING_URI."
        )
    _, path = storage.filesystem(root)
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make root {root}: {error}. Choose another --root.") from None
    return f"sqlite:///{path}/mlflow.db"


def check_tracking(root: str) -> None:
    """Raise InputError unless a root's tracking server can be used.

    One that does not answer may be back before the run needs it: that is a warning. A root's own
    database is not asked: that would make it.
    """
    uri = tracking_uri(root)
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return
    try:
        within(ANSWER_S, f"the tracking server at {uri}", lambda: Tracking(root).check())
    except TrackingError as error:
        log.warning("%s Going on without it: what it has not heard is sent later.", error)


@contextlib.contextmanager
def best_effort(what: str) -> Iterator[None]:
    """Go on when the tracking server cannot be told something: the files of a run are the truth."""
    try:
        yield
    except Exception as error:  # requests', SQLAlchemy's and MLflow's own
        reason = str(error).split("\n")[0]
        log.warning("the tracking server was not told of %s: %s", what, reason)


class Tracking:
    """The tracking server that belongs to a root."""

    def __init__(self, root: str) -> None:
        given = os.environ.get("MLFLOW_TRACKING_URI")
        limit_requests()
        # It logs each retry of a request, which is no news: what failed in the end is told once.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        if "MLFLOW_LOGGING_LEVEL" not in os.environ:
            # It logs how it makes its tables, which is no news to anybody.
            logging.getLogger("mlflow").setLevel(logging.WARNING)
        self.uri = tracking_uri(root)
        is_served = self.uri.startswith(("http:", "https:"))
        if is_served:
            _check_host(self.uri)
        # A server knows where its artifacts go; a database file does not.
        self.artifacts = None if is_served else storage.join(root, "mlartifacts")
        # MLflow refuses a scheme that it does not know.
        with self.answering(), _alone_at(self.uri):
            mlflow.set_tracking_uri(self.uri)
            mlflow.set_registry_uri(self.uri)
            if not given:
                # set_tracking_uri sets the variable, and the next root would be taken for a
                # server's.
                os.environ.pop("MLFLOW_TRACKING_URI", None)
            self.client = mlflow.MlflowClient(self.uri, self.uri)
            if not is_served:
                # The registry's part of a database is made by the first question to it.
                self.client.search_registered_models(max_results=1)

    def check(self) -> None:
        """Raise InputError when the server does not answer, before anything depends on it."""
        with self.answering():
            self.client.search_experiments(max_results=1)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Turn a server that refuses or does not answer into an InputError that names it."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # requests', SQLAlchemy's and MLflow's own
            reason = " ".join(str(error).split())[:200]
            is_refusal = "authenticated" in reason or says_status(reason, 401, 403)
            if is_refusal:
                raise InputError(
                    f"the tracking server at {self.uri} lets nobody in without a name and a "
                    "password: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                    "or correct them."
                ) from None
            kind = TrackingError if is_passing(error) else InputError
            raise kind(
                f"the tracking server at {self.uri} does not answer: {reason}. "
                "Check MLFLOW_TRACKING_URI."
            ) from None

    def experiment(self, name: str) -> str:
        """MLflow's id of an experiment, made on first use."""
        existing = self.client.get_experiment_by_name(name)
        if not existing:
            try:
                return str(self.client.create_experiment(name, artifact_location=self.artifacts))
            except MlflowException as error:
                if error.error_code != ALREADY_EXISTS:
                    raise
                existing = self.client.get_experiment_by_name(name)  # another job has made it
        return str(existing.experiment_id)

    def start_run(
        self, name: str, run_id: str, params: dict[str, str], tags: dict[str, str], corpus: Corpus
    ) -> str:
        """The MLflow run of one of our training runs, made on first use; returns MLflow's id.

        `params` are what it is started with, and stay: MLflow lets no param change. `tags` are what
        its newest session has. The corpus version becomes the run's dataset.
        """
        with self.answering():
            experiment = self.experiment(name)
            wanted = f"tags.`{RUN_TAG}` = '{run_id}'"
            known = self.client.search_runs([experiment], wanted, max_results=1)
            if known:
                mlflow_id = str(known[0].info.run_id)
                self.client.update_run(mlflow_id, status="RUNNING")
            else:
                identity = {
                    RUN_TAG: run_id,
                    "corpus_version": corpus.version,
                    "corpus_fingerprint": corpus.fingerprint,
                    **origin_tags(),
                }
                run = self.client.create_run(experiment, run_name=run_id, tags=identity)
                mlflow_id = str(run.info.run_id)
                self._log_params(mlflow_id, params)
                self._log_corpus(mlflow_id, corpus)
            for key, value in sorted(tags.items()):
                self.client.set_tag(mlflow_id, key, value)
            return mlflow_id

    def log_config(self, mlflow_id: str, config: dict[str, Any]) -> None:
        """The resolved settings of the run's newest session, as its artifact config.yaml."""
        self.client.log_dict(mlflow_id, config, CONFIG_FILE)

    def log_texts(self, mlflow_id: str, files: dict[str, bytes]) -> None:
        """Sample texts of a training run, by file name."""
        with folder_of(files) as folder:
            self.client.log_artifacts(mlflow_id, folder, SAMPLES_FOLDER)

    def log_rows(self, mlflow_id: str, rows: list[dict[str, Any]]) -> None:
        """Publish journal rows as metrics, each with the time it was measured: a row sent twice is
        the same row. What is no number stays in the file.
        """
        metrics = [
            Metric(key, float(value), int(row["time"] * 1000), int(row["step"]))
            for row in rows
            for key, value in row.items()
            if key not in ("step", "time") and isinstance(value, int | float)
        ]
        for at in range(0, len(metrics), _METRICS_A_CALL):
            self.client.log_batch(mlflow_id, metrics=metrics[at : at + _METRICS_A_CALL])
        if rows:
            self.client.set_tag(mlflow_id, PUBLISHED_TAG, str(rows[-1]["step"]))

    def published_step(self, mlflow_id: str) -> int:
        """The last step whose row has been published; 0 at the start."""
        with self.answering():
            return int(self.client.get_run(mlflow_id).data.tags.get(PUBLISHED_TAG, 0))

    def end_run(self, mlflow_id: str, status: str) -> None:
        """Mark a run FINISHED, FAILED or KILLED."""
        self.client.set_terminated(mlflow_id, status)

    def start_import(self, name: str, url: str, lineage: dict[str, Any]) -> str:
        """An MLflow run for a model that was trained elsewhere; returns MLflow's id."""
        with self.answering():
            tags = {"job": "import", "archive": url}
            run = self.client.create_run(
                self.experiment(name), run_name=f"import {name}", tags=tags
            )
            self.client.log_dict(run.info.run_id, lineage, "lineage.json")
        return str(run.info.run_id)

    def sampling_run(
        self, name: str, model_uri: str, output: str, settings: str
    ) -> tuple[str, bool]:
        """The MLflow run of a sampling job by its output and its settings' digest: MLflow's id, and
        whether it has finished.

        The id is "" where there is none yet.
        """
        if "'" in output:  # MLflow's filters know no escape for it
            return "", False
        wanted = (
            f"tags.`{OUTPUT_TAG}` = '{output}' and tags.settings = '{settings}' "
            f"and tags.model = '{model_uri}'"
        )
        known = self.client.search_runs([self.experiment(name)], wanted, max_results=1)
        if not known:
            return "", False
        return str(known[0].info.run_id), known[0].info.status == "FINISHED"

    def start_sampling(
        self,
        name: str,
        model_uri: str,
        output: str,
        settings: str,
        params: dict[str, str],
        *,
        run_name: str,
        model_id: str = "",
    ) -> str:
        """The MLflow run of a sampling job; the same again for the same output and settings.

        `model_id` is the logged model that the run reads.
        """
        known, _ = self.sampling_run(name, model_uri, output, settings)
        if known:
            self.client.update_run(known, status="RUNNING")
            return known
        tags = {OUTPUT_TAG: output, "settings": settings, "model": model_uri, "job": "sample"}
        run = self.client.create_run(self.experiment(name), run_name=run_name, tags=tags)
        mlflow_id = str(run.info.run_id)
        self._log_params(mlflow_id, params)
        if model_id:
            self.client.log_inputs(mlflow_id, models=[LoggedModelInput(model_id)])
        return mlflow_id

    def log_samples(
        self, mlflow_id: str, figures: dict[str, float | None], files: dict[str, bytes]
    ) -> None:
        """Figures and small files of a sampling job."""
        now = int(time.time() * 1000)
        metrics = [
            Metric(key, float(value), now, 0) for key, value in figures.items() if value is not None
        ]
        self.client.log_batch(mlflow_id, metrics=metrics)
        with folder_of(files) as folder:
            self.client.log_artifacts(mlflow_id, folder, SAMPLES_FOLDER)

    def log_attempt(self, job_id: str, attempt: dict[str, Any], outcome: dict[str, Any]) -> None:
        """A run for one attempt of a scheduled job: FINISHED or FAILED, with what it said.

        `outcome` has error, result, seconds and exit_status.
        """
        about = ("schedule", "corpus", "instant", "stage", "tried")
        tags = {"job": "schedule", **{key: str(attempt[key]) for key in about}}
        tags |= {"error": outcome["error"]}
        tags |= {key: str(value) for key, value in outcome["result"].items()}
        run = self.client.create_run(self.experiment(SCHEDULES), run_name=job_id, tags=tags)
        mlflow_id = run.info.run_id
        self.client.log_metric(mlflow_id, "seconds", outcome["seconds"])
        self.client.set_terminated(mlflow_id, "FAILED" if outcome["exit_status"] else "FINISHED")

    def _log_params(self, mlflow_id: str, params: dict[str, str]) -> None:
        entries = [Param(key, value) for key, value in params.items()]
        self.client.log_batch(mlflow_id, params=entries)

    def _log_corpus(self, mlflow_id: str, corpus: Corpus) -> None:
        """Dataset lineage: which version of which corpus, where, and how large."""
        tokens = {split: corpus.tokens_in(split) for split in corpus.manifest.splits}
        dataset = Dataset(
            corpus.name,
            corpus.version,
            source_type="unreasonable",
            source=json.dumps({"uri": corpus.url}),
            profile=json.dumps({"tokens": tokens}),
        )
        context = InputTag("mlflow.data.context", "training")
        self.client.log_inputs(mlflow_id, [DatasetInput(dataset, [context])])


def _check_host(uri: str) -> None:
    try:
        host = urlsplit(uri).hostname
    except ValueError as error:
        raise InputError(f"MLFLOW_TRACKING_URI is {uri!r}, which is no URL ({error}).") from None
    if not host:
        raise InputError(f"MLFLOW_TRACKING_URI is {uri!r}, which names no host.")


@contextlib.contextmanager
def _alone_at(uri: str) -> Iterator[None]:
    """Let one process at a time open a SQLite file: the first makes the tables, and MLflow's own
    experiment, and a second one beside it would fail at either.
    """
    if not uri.startswith(SQLITE):
        yield
        return
    with contextlib.ExitStack() as stack:
        # A root that can only be read has its tables already.
        with contextlib.suppress(OSError):
            file = stack.enter_context(open(f"{uri.removeprefix(SQLITE)}.lock", "wb"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def folder_of(files: dict[str, bytes]) -> Iterator[str]:
    """A temporary folder with these files: MLflow takes files by their path."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        yield folder
