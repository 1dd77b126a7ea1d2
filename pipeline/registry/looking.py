"""A registry that is read without being made: whoever opens MLflow's database makes it, if it is
not there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipeline import storage
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.registry.models import Models

SQLITE = "sqlite:///"


def registry(root: str) -> Models | None:
    """The models of a root's tracking server; None where none has ever been written.

    Raises the InputErrors of Tracking: a remote root without a server, a server that does not
    answer when it is asked.
    """
    uri = existing_uri(root)
    if uri is None:
        return None
    # Late: mlflow takes 2-3 s to import, and a fresh root needs none of it.
    from pipeline.registry.models import Models
    from pipeline.registry.tracking import Tracking

    return Models(Tracking(root))


def existing_uri(root: str) -> str | None:
    """What tracking_uri gives, if there is anything behind it; a server is taken to be there."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given and not storage.is_local(root):
        raise InputError(
            f"root {root} is remote, so models need a tracking server: set MLFLOW_TRACKING_URI."
        )
    uri = given or f"{SQLITE}{storage.filesystem(root)[1]}/mlflow.db"
    is_missing_file = uri.startswith(SQLITE) and not os.path.exists(uri.removeprefix(SQLITE))
    return None if is_missing_file else uri


def needs_registry(reference: str) -> bool:
    """Whether a reference to a model asks a registry: all do but the URL of a checkpoint."""
    is_url = "/" in reference or "::" in reference
    return not is_url or reference.startswith(("models:", "runs:"))
