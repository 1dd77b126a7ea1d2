"""A model by any reference that a person may give."""

from __future__ import annotations

from pipeline import runs, storage
from pipeline.errors import InputError
from pipeline.model.artifact import ModelArtifact, check_artifact, read_artifact
from pipeline.registry.models import Models, ModelVersion
from pipeline.registry.tracking import Tracking


def fetch_model(reference: str, root: str) -> ModelArtifact:
    """A model, its files checked against the digests it was published with.

    models:/NAME@ALIAS or models:/NAME/VERSION; runs:/ID/... or a bare run id (ours or MLflow's),
    which is the version registered from that run or, for a run of ours that has none yet, its best
    checkpoint; else the URL of a checkpoint's folder, which needs no tracking server. InputError
    for what does not exist.
    """
    if reference.startswith("models:"):
        models = Models(Tracking(root))
        return registered_artifact(models, models.resolve(reference))
    is_url = "/" in reference or "::" in reference
    if is_url and not reference.startswith("runs:"):
        return read_artifact(storage.absolute(reference))
    # What follows the id names a path in the run: a run of ours has one model.
    run_id = reference.removeprefix("runs:").strip("/").split("/")[0]
    models = Models(Tracking(root))
    version = models.registered_from(run_id)
    if version:
        return registered_artifact(models, version)
    run = runs.run_url(root, run_id)
    best = runs.best(run) if run_id else None
    if best is None:
        raise InputError(
            f"no model was registered from run {run_id!r} at {models.uri}, "
            f"and {root} has no checkpoint of it."
        )
    return read_artifact(storage.join(run, best))


def registered_artifact(models: Models, version: ModelVersion) -> ModelArtifact:
    """A registered version's files."""
    files = models.download(version)
    return check_artifact(version.name, version.version, version.uri, files)
