"""The only MLflow client: runs, metrics, lineage, registered models, the champion, and fetching a model's files.

Only the driver talks to the tracking server. Identity is ours: a run is found by its `run_id` tag, because servers mint
ids of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.training import checkpoint
from pipeline.training.artifact import ARTIFACT, CARD, CONFIG, FetchedModel
from pipeline.training.config import ENDS, MAY_CHANGE, TrainConfig

CHAMPION = "champion"
RUN_TAG = "unreasonable.run_id"
PUBLISHED_TAG = "unreasonable.published_step"
SCHEDULES = "schedules"  # the experiment of scheduled jobs
OUTPUT_TAG = "unreasonable.output"
DIGEST_TAG = "sha256."
_BATCH = 1000  # metrics in one call: the server's limit
_PACKAGE = Path(__file__).parent

_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes for an unknown name, and alias


@dataclass(frozen=True)
class ModelVersion:
    """A registered version: its name, number, tags and the URI of its artifacts."""

    name: str
    version: str
    tags: dict[str, str]
    created: float = 0.0  # seconds since 1970
    mlflow_run_id: str = ""
    model_id: str = ""  # of the logged model that holds its files
    description: str = ""

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


class Registry:
    """A tracking server and registry at one URI."""

    def __init__(self, root: str) -> None:
        given = os.environ.get("MLFLOW_TRACKING_URI")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")  # half a minute of patience, not four
        self.uri = tracking_uri(root)
        served = self.uri.startswith(("http:", "https:"))
        self.artifacts = None if served else storage.join(root, "mlartifacts")  # a server knows its own
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        if not given:
            os.environ.pop("MLFLOW_TRACKING_URI", None)  # mlflow sets it, and the next root would be taken for a server's
        self.client = mlflow.MlflowClient(self.uri, self.uri)

    def start_run(self, name: str, run_id: str, config: TrainConfig, corpus: Corpus) -> str:
        """The MLflow run of one of ours, made on first use; returns MLflow's id."""
        with self._asking():
            return self._start_run(name, run_id, config, corpus)

    def _start_run(self, name: str, run_id: str, config: TrainConfig, corpus: Corpus) -> str:
        experiment = self._experiment(name)
        found = self.client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1)
        settings = {key: str(value) for key, value in asdict(config).items()}
        changeable = sorted(MAY_CHANGE | ENDS)
        if found:
            mlflow_id = found[0].info.run_id
            self.client.update_run(mlflow_id, status="RUNNING")
        else:
            tags = {RUN_TAG: run_id, "corpus_version": corpus.version, "corpus_fingerprint": corpus.fingerprint}
            mlflow_id = self.client.create_run(experiment, run_name=run_id, tags=tags).info.run_id
            params = [Param(key, value) for key, value in settings.items() if key not in changeable]
            self.client.log_batch(mlflow_id, params=params)
            self._log_corpus(mlflow_id, corpus)
        for key in changeable:  # a param cannot change, a tag can
            self.client.set_tag(mlflow_id, key, settings[key])
        return str(mlflow_id)

    def _experiment(self, name: str) -> str:
        existing = self.client.get_experiment_by_name(name)
        if existing:
            return str(existing.experiment_id)
        return str(self.client.create_experiment(name, artifact_location=self.artifacts))

    def _log_corpus(self, mlflow_id: str, corpus: Corpus) -> None:
        """Dataset lineage: which version of which corpus, where, and how large."""
        profile = json.dumps({"tokens": {split: corpus.tokens_in(split) for split in corpus.manifest["splits"]}})
        source = json.dumps({"uri": corpus.url})
        dataset = Dataset(corpus.name, corpus.version, source_type="unreasonable", source=source, profile=profile)
        self.client.log_inputs(mlflow_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def log_rows(self, mlflow_id: str, rows: list[dict[str, Any]]) -> None:
        """Publish journal rows as metrics, each with the time it was measured."""
        metrics = [
            Metric(key, float(value), int(row["time"] * 1000), int(row["step"]))
            for row in rows
            for key, value in row.items()
            if key not in ("step", "time")
        ]
        for at in range(0, len(metrics), _BATCH):
            self.client.log_batch(mlflow_id, metrics=metrics[at : at + _BATCH])
        if rows:
            self.client.set_tag(mlflow_id, PUBLISHED_TAG, str(rows[-1]["step"]))

    def published_step(self, mlflow_id: str) -> int:
        """The last step whose row has been published; 0 at the start."""
        with self._asking():
            return int(self.client.get_run(mlflow_id).data.tags.get(PUBLISHED_TAG, 0))

    def end_run(self, mlflow_id: str, status: str) -> None:
        """Mark a run FINISHED, FAILED or KILLED."""
        self.client.set_terminated(mlflow_id, status)

    def register(
        self, name: str, mlflow_id: str, run_id: str, files: dict[str, bytes], more: dict[str, str] | None = None
    ) -> ModelVersion:
        """Register a model's files (publication.publishable) under a models-from-code pyfunc.

        Their digests go into the version's tags, with figures, lineage and `more`; the card is the version's description.
        """
        config = json.loads(files[CONFIG])
        with tempfile.TemporaryDirectory() as folder:
            for file, data in files.items():
                (Path(folder) / file).write_bytes(data)
            with mlflow.start_run(run_id=mlflow_id), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*(type hints|input example)", category=UserWarning)  # see predict
                logged = mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(_PACKAGE / "sampler_model.py"),
                    artifacts={file: str(Path(folder) / file) for file in files},
                    code_paths=[str(_PACKAGE)],
                    pip_requirements=_requirements(),
                    signature=_signature(),
                )
        tags = {f"{DIGEST_TAG}{file}": storage.sha256_bytes(data) for file, data in files.items()}
        tags |= {
            "corpus": f"{config['corpus']['name']}@{config['corpus']['version']}",
            "corpus_fingerprint": config["corpus"]["fingerprint"],
            **{key: repr(float(config["metrics"][key])) for key in ("val_loss", "val_bits_per_byte")},
            "documents_sha256": config["lineage"]["documents_sha256"],
            "precision": config["sampling"]["precision"],
            **{key: repr(config["sampling"][key]) for key in ("nats_fp32", "nats_int8") if key in config["sampling"]},
            "train_settings": settings_digest(config["train"]),
            RUN_TAG: run_id,
            **({"git_commit": commit} if (commit := _git_commit()) else {}),
            **(more or {}),
        }
        self._ensure_model(name)
        version = self.client.create_model_version(
            name, logged.model_uri, run_id=mlflow_id, tags=tags, model_id=logged.model_id, description=files[CARD].decode()
        )
        return self._version(version)

    def sampling_run(self, version: ModelVersion, output: str, settings: str) -> tuple[str, bool]:
        """The MLflow run of a sampling job by its output and its settings' digest: MLflow's id, and whether it has finished.

        The id is "" where there is none yet.
        """
        wanted = f"tags.`{OUTPUT_TAG}` = '{output}' and tags.settings = '{settings}' and tags.model = '{version.uri}'"
        found = [] if "'" in output else self.client.search_runs([self._experiment(version.name)], wanted, max_results=1)
        return (str(found[0].info.run_id), found[0].info.status == "FINISHED") if found else ("", False)

    def start_sampling(self, version: ModelVersion, output: str, settings: str, params: dict[str, str]) -> str:
        """The MLflow run of a sampling job, linked to its model version; the same again for the same output and settings."""
        experiment, (known, _) = self._experiment(version.name), self.sampling_run(version, output, settings)
        if known:
            self.client.update_run(known, status="RUNNING")
            return known
        tags = {OUTPUT_TAG: output, "settings": settings, "model": version.uri, "job": "sample"}
        mlflow_id = str(
            self.client.create_run(experiment, run_name=f"sample {version.name}/{version.version}", tags=tags).info.run_id
        )
        self.client.log_batch(mlflow_id, params=[Param(key, value) for key, value in params.items()])
        if version.model_id:
            self.client.log_inputs(mlflow_id, models=[LoggedModelInput(version.model_id)])
        return mlflow_id

    def log_attempt(self, job_id: str, attempt: dict[str, Any], about: dict[str, Any]) -> None:
        """A run for one attempt of a scheduled job: FINISHED or FAILED, with what it said."""
        tags = {"job": "schedule", **{key: str(attempt[key]) for key in ("schedule", "corpus", "instant", "stage", "tried")}}
        tags |= {"error": about["error"], **{key: str(value) for key, value in about["result"].items()}}
        mlflow_id = self.client.create_run(self._experiment(SCHEDULES), run_name=job_id, tags=tags).info.run_id
        self.client.log_metric(mlflow_id, "seconds", about["seconds"])
        self.client.set_terminated(mlflow_id, "FAILED" if about["exit_status"] else "FINISHED")

    def log_samples(self, mlflow_id: str, figures: dict[str, float | None], files: dict[str, bytes]) -> None:
        """Figures and small files of a sampling job."""
        now = int(time.time() * 1000)
        metrics = [Metric(key, float(value), now, 0) for key, value in figures.items() if value is not None]
        self.client.log_batch(mlflow_id, metrics=metrics)
        with tempfile.TemporaryDirectory() as folder:
            for file, data in files.items():
                (Path(folder) / file).write_bytes(data)
            self.client.log_artifacts(mlflow_id, folder, "samples")

    def _ensure_model(self, name: str) -> None:
        try:
            self.client.get_registered_model(name)
        except MlflowException:
            self.client.create_registered_model(name)

    def champion(self, name: str) -> ModelVersion | None:
        """The champion of a model; None when there is none. A server that does not answer is an InputError."""
        with self._asking():
            try:
                return self._version(self.client.get_model_version_by_alias(name, CHAMPION))
            except MlflowException as error:
                if error.error_code in _ABSENT:
                    return None
                raise

    def trained(self, name: str, config: TrainConfig, corpus: Corpus) -> ModelVersion | None:
        """The newest version of a model that was trained with these settings on this corpus version, if any."""
        wanted = (settings_digest(asdict(config)), corpus.fingerprint)
        found = self.versions(f"name = '{name}'")
        same = [v for v in found if (v.tags.get("train_settings"), v.tags.get("corpus_fingerprint")) == wanted]
        return max(same, key=lambda v: int(v.version)) if same else None

    def versions(self, wanted: str = "") -> list[ModelVersion]:
        """Every registered version that a registry filter takes."""
        found: list[ModelVersion] = []
        token = None
        with self._asking():
            while token != "":
                page = self.client.search_model_versions(wanted, page_token=token)
                found += map(self._version, page)
                token = page.token or ""
        return found

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn a tracking server that refuses or does not answer into an InputError that names it."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # requests', SQLAlchemy's and MLflow's own
            reason = " ".join(str(error).split())[:200]
            if "authenticated" in reason or "401" in reason or "403" in reason:
                raise InputError(
                    f"the tracking server at {self.uri} lets nobody in without a name and a password: set "
                    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or correct them."
                ) from None
            raise InputError(
                f"the tracking server at {self.uri} does not answer: {reason}. Check MLFLOW_TRACKING_URI."
            ) from None

    def promote(self, version: ModelVersion) -> None:
        self.client.set_registered_model_alias(version.name, CHAMPION, version.version)

    def resolve(self, uri: str) -> ModelVersion:
        """The version behind models:/NAME@ALIAS or models:/NAME/VERSION; what does not exist is an InputError."""
        name, alias, number = _parse_model_uri(uri)
        with self._asking():
            try:
                if alias:
                    return self._version(self.client.get_model_version_by_alias(name, alias))
                return self._version(self.client.get_model_version(name, number))
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                known = ", ".join(sorted(model.name for model in self.client.search_registered_models())) or "none"
                raise InputError(
                    f"no model {uri} at {self.uri} ({str(error).splitlines()[0]}); registered are: {known}."
                ) from None

    def named(self, reference: str) -> ModelVersion:
        """The version behind NAME (its champion, else its newest), NAME@ALIAS, NAME/VERSION, or a models: URI of these."""
        name = reference.removeprefix("models:").lstrip("/")
        if "@" in name or "/" in name:
            return self.resolve(f"models:/{name}")
        found = self.champion(name) or max(self.versions(f"name = '{name}'"), key=lambda v: int(v.version), default=None)
        return found or self.resolve(f"models:/{name}@{CHAMPION}")  # says what there is

    def aliases(self, name: str) -> dict[str, str]:
        """A model's aliases, and the version number of each."""
        with self._asking():
            return {alias: str(number) for alias, number in self.client.get_registered_model(name).aliases.items()}

    def start_import(self, name: str, url: str, lineage: dict[str, Any]) -> str:
        """An MLflow run for a model that was trained elsewhere; returns MLflow's id."""
        with self._asking():
            run = self.client.create_run(
                self._experiment(name), run_name=f"import {name}", tags={"job": "import", "archive": url}
            )
            self.client.log_dict(run.info.run_id, lineage, "lineage.json")
        return str(run.info.run_id)

    def fetch_version(self, version: ModelVersion) -> FetchedModel:
        return checkpoint.fetched(version.name, version.version, version.uri, self.fetch(version))

    def registered_from(self, run_id: str) -> ModelVersion | None:
        """The newest version that a run, by our id or MLflow's, was registered as; None when there is none."""
        if not re.fullmatch(r"[\w.-]+", run_id):
            return None
        found = self.versions(f"run_id = '{run_id}'") or self.versions(f"tags.`{RUN_TAG}` = '{run_id}'")
        return max(found, key=lambda version: int(version.version)) if found else None

    def fetch(self, version: ModelVersion) -> dict[str, bytes]:
        """The artifact's three files, checked against the digests in the version's tags."""
        with tempfile.TemporaryDirectory() as folder:
            for file in ARTIFACT:
                _download(f"{version.uri}/artifacts/{file}", folder)
            return checkpoint.read(storage.join(folder, "artifacts"), ARTIFACT, self.digests(version))

    def digests(self, version: ModelVersion) -> dict[str, str]:
        return {file: version.tags.get(f"{DIGEST_TAG}{file}", "") for file in ARTIFACT}

    def _version(self, found: Any) -> ModelVersion:
        return ModelVersion(
            found.name, str(found.version), dict(found.tags), found.creation_timestamp / 1000, found.run_id or "",
            found.model_id or _logged_model(found.source or ""), found.description or "",
        )  # fmt: skip


def _git_commit() -> str:
    """The commit of the code that is running: $UNREASONABLE_GIT_COMMIT, else what git says; "" where nobody knows."""
    if given := os.environ.get("UNREASONABLE_GIT_COMMIT"):
        return given
    try:
        found = subprocess.run(
            ["git", "-C", str(_PACKAGE), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _logged_model(source: str) -> str:
    """The logged model that a version's source names, models:/m-...: stores do not say it otherwise."""
    name = source.removeprefix("models:/")
    return name if name != source and name.startswith("m-") else ""


def fetch_model(reference: str, root: str) -> FetchedModel:
    """A model, its files checked against the digests it was published with.

    models:/NAME@ALIAS, models:/NAME/VERSION; runs:/ID/... and a bare run id (ours or MLflow's) for the version registered
    from that run, or, for a run of ours that has none yet, its best checkpoint; else the URL of a checkpoint folder, which
    needs no tracking server. InputError for what does not exist.
    """
    if reference.startswith("models:"):
        registry = Registry(root)
        return registry.fetch_version(registry.resolve(reference))
    if not reference.startswith("runs:") and ("/" in reference or "::" in reference):
        return checkpoint.fetch(storage.absolute(reference))
    run_id = reference.removeprefix("runs:").strip("/").split("/")[0]
    registry = Registry(root)
    version = registry.registered_from(run_id)
    if version:
        return registry.fetch_version(version)
    best = checkpoint.best(storage.join(root, "runs", run_id)) if run_id else None
    if best is None:
        raise InputError(f"no model was registered from run {run_id!r} at {registry.uri}, and {root} has no checkpoint of it.")
    return checkpoint.fetch(storage.join(root, "runs", run_id, best))


def _download(uri: str, folder: str) -> None:
    try:
        mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)
    except (MlflowException, OSError) as error:
        raise InputError(f"cannot fetch {uri}: {str(error).splitlines()[0]}; is the artifact store there?") from None


def settings_digest(settings: dict[str, Any]) -> str:
    """A digest of the training settings that decide a model's weights."""
    kept = {key: value for key, value in settings.items() if key not in MAY_CHANGE}
    return storage.sha256_bytes(json.dumps(kept, sort_keys=True).encode())[:12]


def corpus_references(root: str, corpus: str) -> dict[str, list[str]]:
    """Versions of a corpus that registered models were trained on: version -> names of the models' versions."""
    uri = tracking_uri(root)
    if uri.startswith("sqlite:///") and not os.path.exists(uri.removeprefix("sqlite:///")):
        return {}
    found: dict[str, list[str]] = {}
    for version in Registry(root).versions():
        name, _, number = version.tags.get("corpus", "").partition("@")
        if name == corpus:
            found.setdefault(number, []).append(f"model {version.name}/{version.version}")
    return found


def tracking_uri(root: str) -> str:
    """$MLFLOW_TRACKING_URI, else SQLite under a local root. A remote root without a server is an InputError."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    if not storage.is_local(root):
        raise InputError(f"root {root} is remote, so models need a tracking server: set MLFLOW_TRACKING_URI.")
    path = storage.filesystem(root)[1]
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make root {root}: {error}. Choose another --root.") from None
    return f"sqlite:///{path}/mlflow.db"


def _parse_model_uri(uri: str) -> tuple[str, str, str]:
    """(name, alias, version) of a models: URI; one of the latter two is empty."""
    rest = uri.removeprefix("models:").lstrip("/")
    name, at, alias = rest.partition("@")
    if at and name and alias:
        return name, alias, ""
    name, slash, number = rest.partition("/")
    if slash and name and number.isdigit():
        return name, "", number
    raise InputError(f"model {uri!r} is neither models:/NAME@ALIAS nor models:/NAME/VERSION.")


def _signature() -> ModelSignature:
    params = [
        ParamSpec("num_chars", "long", 200),
        ParamSpec("temperature", "double", 1.0),
        ParamSpec("top_k", "long", 0),
        ParamSpec("top_p", "double", 1.0),
        ParamSpec("stop", "string", ""),
        ParamSpec("lines", "long", 0),
        ParamSpec("seed", "long", 1),
    ]
    return ModelSignature(Schema([ColSpec("string")]), Schema([ColSpec("string")]), ParamSchema(params))


def _requirements() -> list[str]:
    """What the model's code needs, at the versions that it was made with."""
    from importlib.metadata import version

    packages = ("fsspec", "mlflow", "numba", "numpy", "safetensors", "torch")
    return [f"{package}=={version(package).partition('+')[0]}" for package in packages]
