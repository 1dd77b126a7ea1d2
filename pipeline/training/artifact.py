"""Old names, for models that were registered while a model's files were this room's subject.

MLflow runs such a model's own file. In a process that has imported this package already, that file
finds its `pipeline.training.artifact` here. Nothing of ours uses this module, and without it those
models would load in fresh processes only.
"""

from __future__ import annotations

from typing import Any

from pipeline.model.artifact import ARTIFACT, ModelArtifact, check_artifact

__all__ = ["ARTIFACT", "fetched"]


class FetchedModel(ModelArtifact):
    """A model's files with their parsed config.json as `config`."""

    @property
    def config(self) -> dict[str, Any]:
        return self.about.to_json()


def fetched(name: str, version: str, uri: str, files: dict[str, bytes]) -> FetchedModel:
    """Was in training/checkpoint.py, where those models look for it."""
    return FetchedModel(**vars(check_artifact(name, version, uri, files)))
