"""Registered models: versions with their tags and files, aliases, and the champion's.

A version's tags hold the digests of its files. They are what is trusted: files come back from
wherever the server keeps them, and are believed only with these digests.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, ParamSchema, ParamSpec, Schema

from pipeline import storage
from pipeline.errors import InputError, TrackingError
from pipeline.model.about import ModelAbout
from pipeline.model.artifact import ARTIFACT, CARD, WEIGHTS, parse_about, read_files
from pipeline.registry.origin import git_commit
from pipeline.registry.tracking import (
    ALREADY_EXISTS,
    RUN_TAG,
    Tracking,
    best_effort,
    folder_of,
    tracking_uri,
)

CHAMPION = "champion"
DIGEST_TAG = "sha256."
SETTINGS_TAG = "train_settings"
# In one text, of a model that is loaded without another max_chars (pyfunc.py).
MAX_SERVED_CHARS = 100_000
_HOUSE = Path(__file__).parent.parent  # the package pipeline: a registered model carries it
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # for an unknown name, and alias


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

    @property
    def number(self) -> int:
        return int(self.version)

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of the artifact's files, as they were registered."""
        return {file: self.tags.get(f"{DIGEST_TAG}{file}", "") for file in ARTIFACT}


class Models:
    """The model registry of a tracking server."""

    def __init__(self, tracking: Tracking) -> None:
        self.tracking = tracking
        self.client = tracking.client

    @property
    def uri(self) -> str:
        return self.tracking.uri

    def register(
        self,
        name: str,
        mlflow_id: str,
        run_id: str,
        files: dict[str, bytes],
        tags: dict[str, str],
    ) -> ModelVersion:
        """Register a model's files (publication.publishable) under a models-from-code pyfunc.

        Their digests go into the version's tags, with figures, lineage and `tags`; the card is the
        version's description.
        """
        with self.tracking.answering():
            return self._register(name, mlflow_id, run_id, files, tags)

    def _register(
        self,
        name: str,
        mlflow_id: str,
        run_id: str,
        files: dict[str, bytes],
        tags: dict[str, str],
    ) -> ModelVersion:
        about = parse_about(files, name)
        # Files first: a version without them would be there for whoever asks in between.
        logged = self._log_model(mlflow_id, files, about.step)
        with best_effort(f"the figures of {name}'s logged model"):
            self._log_figures(mlflow_id, logged.model_id, about)
        self.ensure(name)
        version = self.client.create_model_version(
            name,
            logged.model_uri,
            run_id=mlflow_id,
            tags=_version_tags(about, files, run_id) | tags,
            model_id=logged.model_id,
            description=files[CARD].decode(),
        )
        return _model_version(version)

    def versions(self, wanted: str = "") -> list[ModelVersion]:
        """Every registered version that a registry filter takes."""
        found: list[ModelVersion] = []
        token = None
        with self.tracking.answering():
            while token != "":  # of the last page; None asks for the first
                page = self.client.search_model_versions(wanted, page_token=token)
                found += map(_model_version, page)
                token = page.token or ""
        return found

    def versions_of(self, name: str) -> list[ModelVersion]:
        if "'" in name:
            return []  # it would end the name inside the filter; no registered name has one
        return self.versions(f"name = '{name}'")

    def champion(self, name: str) -> ModelVersion | None:
        """The champion of a model; None when there is none. A server that does not answer is an
        InputError.
        """
        with self.tracking.answering():
            try:
                return _model_version(self.client.get_model_version_by_alias(name, CHAMPION))
            except MlflowException as error:
                if error.error_code in _ABSENT:
                    return None
                raise

    def promote(self, version: ModelVersion) -> None:
        """Make a version the champion of its name."""
        with self.tracking.answering():
            self.client.set_registered_model_alias(version.name, CHAMPION, version.version)

    def tag(self, version: ModelVersion, key: str, value: str) -> None:
        """Set a tag of a version."""
        with self.tracking.answering():
            self.client.set_model_version_tag(version.name, version.version, key, value)

    def aliases(self, name: str) -> dict[str, str]:
        """A model's aliases, and the version number of each."""
        with self.tracking.answering():
            aliases = self.client.get_registered_model(name).aliases
            return {alias: str(number) for alias, number in aliases.items()}

    def trained(self, name: str, settings: str, fingerprint: str) -> ModelVersion | None:
        """The newest version of a model with this digest of settings and corpus fingerprint, if
        any.
        """
        same = [
            version
            for version in self.versions_of(name)
            if version.tags.get(SETTINGS_TAG) == settings
            and version.tags.get("corpus_fingerprint") == fingerprint
        ]
        return max(same, key=lambda version: version.number, default=None)

    def registered_from(self, run_id: str) -> ModelVersion | None:
        """The newest version that a run, by our id or MLflow's, was registered as; None when there
        is none.
        """
        if not run_id.replace("-", "").replace("_", "").replace(".", "").isalnum():
            return None  # it would be read as part of the filter
        found = self.versions(f"run_id = '{run_id}'")
        if not found:
            found = self.versions(f"tags.`{RUN_TAG}` = '{run_id}'")
        return max(found, key=lambda version: version.number, default=None)

    def registered_as(self, name: str, run_id: str, weights: bytes) -> ModelVersion | None:
        """The version of a model that has these weights of this run; None when there is none.

        A registration whose end was not heard is found by it, and not made twice.
        """
        digest = storage.sha256_bytes(weights)
        same = [
            version
            for version in self.versions_of(name)
            if version.tags.get(RUN_TAG) == run_id and version.digests[WEIGHTS] == digest
        ]
        return min(same, key=lambda version: version.number, default=None)

    def resolve(self, uri: str) -> ModelVersion:
        """The version behind models:/NAME@ALIAS or models:/NAME/VERSION; what does not exist is an
        InputError.
        """
        name, alias, number = _parse_model_uri(uri)
        with self.tracking.answering():
            try:
                if alias:
                    return _model_version(self.client.get_model_version_by_alias(name, alias))
                return _model_version(self.client.get_model_version(name, number))
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                reason = str(error).splitlines()[0]
                raise InputError(
                    f"no model {uri} at {self.uri} ({reason}); {self.names_like(name)}"
                ) from None

    def named(self, reference: str) -> ModelVersion:
        """The version behind NAME (its champion, else its newest), NAME@ALIAS, NAME/VERSION, or a
        models: URI of these.
        """
        name = reference.removeprefix("models:").lstrip("/")
        if "@" in name or "/" in name:
            return self.resolve(f"models:/{name}")
        # Where there is none, resolving says so, and what there is.
        return self.preferred(name) or self.resolve(f"models:/{name}@{CHAMPION}")

    def preferred(self, name: str) -> ModelVersion | None:
        """What a bare name means: its champion, else its newest version; None where there is
        neither.
        """
        versions = self.versions_of(name) if name else []
        if not versions:
            return None
        return self.champion(name) or max(versions, key=lambda version: version.number)

    def names_like(self, name: str) -> str:
        """A sentence for who gave a name that there is not: close names, and all that there are."""
        with self.tracking.answering():
            names = sorted(model.name for model in self.client.search_registered_models())
        close = difflib.get_close_matches(name, names, n=3)
        guess = f"did you mean {' or '.join(close)}? " if close else ""
        return f"{guess}registered are: {', '.join(names) or 'none'}."

    def download(self, version: ModelVersion) -> dict[str, bytes]:
        """The artifact's three files, checked against the digests in the version's tags."""
        with tempfile.TemporaryDirectory() as folder:
            # File by file: the folder holds our code as well, which nobody should fetch or run.
            for file in ARTIFACT:
                _download(f"{version.uri}/artifacts/{file}", folder)
            return read_files(storage.join(folder, "artifacts"), ARTIFACT, version.digests)

    def log_evaluation(
        self, version: ModelVersion, figures: Mapping[str, float], text: str, digest: str
    ) -> None:
        """Show figures on a text beside a version: as metrics of its logged model.

        `digest` has at most 36 characters: the server takes no more for a dataset's.
        """
        self._log_metrics(version.mlflow_run_id, version.model_id, figures, 0, (text, digest))

    def _log_model(self, mlflow_id: str, files: dict[str, bytes], step: int) -> Any:
        """Log the model as the run's output of a step. MLflow gives it the run's metrics of it."""
        with folder_of(files) as folder, _without_advice(), mlflow.start_run(run_id=mlflow_id):
            return mlflow.pyfunc.log_model(
                name="model",
                python_model=str(_HOUSE / "registry" / "pyfunc.py"),
                artifacts={file: str(Path(folder) / file) for file in files},
                code_paths=[str(_HOUSE)],
                pip_requirements=_requirements(),  # without them MLflow looks for 7-8 s
                signature=_signature(),
                step=step,
                model_config={"max_chars": MAX_SERVED_CHARS},
            )

    def _log_figures(self, mlflow_id: str, model_id: str, about: ModelAbout) -> None:
        """Show a model's figures beside it, as figures on its corpus version.

        The run's own metrics know no dataset, and an imported model's run has none.
        """
        dataset = (about.corpus.name, about.corpus.version)
        self._log_metrics(mlflow_id, model_id, about.metrics, about.step, dataset)

    def _log_metrics(
        self,
        mlflow_id: str,
        model_id: str,
        figures: Mapping[str, float],
        step: int,
        dataset: tuple[str, str],
    ) -> None:
        """Figures of a logged model on a dataset, by name and digest."""
        now = int(time.time() * 1000)
        metrics = [
            Metric(
                key,
                float(value),
                now,
                step,
                model_id=model_id,
                dataset_name=dataset[0],
                dataset_digest=dataset[1],
                run_id=mlflow_id,
            )
            for key, value in figures.items()
        ]
        self.client.log_batch(mlflow_id, metrics=metrics)

    def ensure(self, name: str) -> None:
        """Make sure that a model of this name is there, with or without versions."""
        try:
            self.client.get_registered_model(name)
        except MlflowException as missing:
            if missing.error_code not in _ABSENT:
                raise
            try:
                self.client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != ALREADY_EXISTS:  # another job has made it just now
                    raise


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Leave out MLflow's advice to annotate `predict`, which pyfunc.py says why it does not follow.

    MLflow puts a filter of its own before ours each time, so a filter would not do: warnings are
    kept, and all others shown behind the block.
    """
    with warnings.catch_warnings(record=True) as kept:
        yield
    for warning in kept:
        text = str(warning.message)
        is_advice = "type hints" in text or "input example" in text
        if not is_advice:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def corpus_references(root: str, corpus: str) -> dict[str, list[str]]:
    """Versions of a corpus that registered models were trained on: version -> names of the models'
    versions.
    """
    uri = tracking_uri(root)
    # To open a database makes it, with all of MLflow's migrations: a question should not.
    if uri.startswith("sqlite:///") and not os.path.exists(uri.removeprefix("sqlite:///")):
        return {}
    found: dict[str, list[str]] = {}
    for version in Models(Tracking(root)).versions():
        name, _, number = version.tags.get("corpus", "").partition("@")
        if name == corpus:
            found.setdefault(number, []).append(f"model {version.name}/{version.version}")
    return found


def _version_tags(about: ModelAbout, files: dict[str, bytes], run_id: str) -> dict[str, str]:
    """What a version says of itself: digests, corpus, figures, where it comes from."""
    tags = {f"{DIGEST_TAG}{file}": storage.sha256_bytes(data) for file, data in files.items()}
    tags |= {
        "corpus": str(about.corpus),
        "corpus_fingerprint": about.corpus.fingerprint,
        RUN_TAG: run_id,
    }
    for figure in ("val_loss", "val_bits_per_byte"):
        tags[figure] = repr(float(about.metrics[figure]))
    if about.lineage:
        tags["documents_sha256"] = about.lineage.documents_sha256
    if about.sampling:
        tags["precision"] = about.sampling.precision
        for precision in ("nats_fp32", "nats_int8"):
            nats = getattr(about.sampling, precision)
            if nats is not None:
                tags[precision] = repr(nats)
    commit = git_commit()
    if commit:
        tags["git_commit"] = commit
    return tags


def _model_version(found: Any) -> ModelVersion:
    """MLflow's version as ours."""
    return ModelVersion(
        name=found.name,
        version=str(found.version),
        tags=dict(found.tags),
        created=found.creation_timestamp / 1000,
        mlflow_run_id=found.run_id or "",
        model_id=found.model_id or _logged_model(found.source or ""),
        description=found.description or "",
    )


def _logged_model(source: str) -> str:
    """The logged model that a version's source names, models:/m-...: some stores do not say it
    otherwise.
    """
    name = source.removeprefix("models:/")
    return name if name != source and name.startswith("m-") else ""


def _download(uri: str, folder: str) -> None:
    try:
        mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TrackingError(f"cannot fetch {uri}: {reason}; is the artifact store there?") from None


def _parse_model_uri(uri: str) -> tuple[str, str, str]:
    """(name, alias, version) of a models: URI; one of the latter two is empty."""
    rest = uri.removeprefix("models:").lstrip("/")
    name, _, alias = rest.partition("@")
    if name and alias:
        return name, alias, ""
    name, _, number = rest.partition("/")
    # No registry has as many versions; a larger number would not fit its database.
    if name and number.isascii() and number.isdigit() and len(number) < 10:
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
    text = Schema([ColSpec("string")])
    primes = Schema([ColSpec(AnyType())])
    return ModelSignature(primes, text, ParamSchema(params))


def _requirements() -> list[str]:
    """What the model's code needs, at the versions that it was made with."""
    from importlib.metadata import version

    packages = ("fsspec", "mlflow", "numba", "numpy", "safetensors", "torch")
    return [f"{package}=={version(package).partition('+')[0]}" for package in packages]
