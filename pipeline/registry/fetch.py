"""A model by any reference that a person may give; what a reference means is decided here alone.

    NAME                        a registered model: its champion, else its newest version
    NAME@ALIAS, NAME/VERSION    that version of it; models:/ may stand before any of the three
    RUN_ID, runs:/RUN_ID/...    ours or MLflow's: what was registered from it, else its best
                                checkpoint
    anything else               a path or URL: a checkpoint's folder, or an archive of a model

mlflow is imported for a registry's models alone: it takes 2 s, and a local model needs none of it.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import runs, storage
from pipeline.errors import InputError
from pipeline.model.artifact import (
    ARTIFACT,
    ModelArtifact,
    check_artifact,
    parse_vocab,
    read_artifact,
)
from pipeline.registry.archive import read_archive

if TYPE_CHECKING:
    from pipeline.corpora.vocab import Vocab
    from pipeline.registry.models import Models, ModelVersion

log = logging.getLogger("unreasonable")

ARCHIVE_SUFFIX = ".zip"
_NOTHING_REGISTERED = (
    "nothing is registered under this root yet. "
    "Train a model, give another root, or set MLFLOW_TRACKING_URI."
)
# What may be a registered model or a run as well as a path here: one word, or a word with an alias
# or a version's number.
_WORD = re.compile(r"[^/:@~]+(@[^/:@]+|/\d+)?")
# MLflow's, and ours (runs.new_run_id).
_RUN_ID = re.compile(r"[0-9a-f]{16,32}|\d{8}-\d{6}-[0-9a-f]{6}")


def fetch_model(reference: str, root: str) -> ModelArtifact:
    """A model, its files checked against the digests it was published with.

    A path or URL needs no tracking server. InputError for what does not exist, and for a word that
    names both a registered model and one in a folder here.
    """
    if not reference.strip():
        raise InputError("model is empty; give a registered model's name, a run id or a path.")
    if reference.startswith("models:"):
        return _named(reference, _registry(root))
    if reference.startswith("runs:"):
        # What follows the id names a path in the run: a run of ours has one model.
        run_id = reference.removeprefix("runs:").strip("/").split("/")[0]
        return _of_run(run_id, root, _registry(root))
    is_path = not _WORD.fullmatch(reference) or reference in (".", "..")
    # A registered name could end in .zip, but whoever has the file here means the file.
    is_archive_here = reference.endswith(ARCHIVE_SUFFIX) and storage.is_file(
        storage.absolute(reference)
    )
    if is_path or is_archive_here:
        return read_local(storage.absolute(reference))
    return _of_word(reference, root)


def read_local(url: str) -> ModelArtifact:
    """The model at a URL: a checkpoint's folder, or an archive, which is read as it is."""
    if not storage.is_file(url):
        return read_artifact(url)
    carried = read_archive(url)
    files = {name: carried.files[name] for name in ARTIFACT}
    return check_artifact(carried.name, carried.version, url, files)


def frozen_vocab(reference: str, root: str) -> Vocab | None:
    """The vocabulary of the model that a corpus's vocab_from names. None when it is empty, or names
    a corpus: corpora resolve those themselves.

    A bare name is a corpus where there is one of that name, else a model.
    """
    from pipeline.corpora.manifest import latest, split_reference  # pyarrow takes 0.2 s

    is_model = reference.startswith("models:")
    name, _ = split_reference(reference)
    if not reference or (not is_model and latest(root, name)):
        return None
    try:
        artifact = fetch_model(reference, root)
    except InputError as error:
        if is_model:
            raise
        raise InputError(
            f"vocab_from {reference!r} is no corpus under {root}, and {error}"
        ) from None
    return parse_vocab(artifact.files, artifact.uri)


def registered_artifact(models: Models, version: ModelVersion) -> ModelArtifact:
    """A registered version's files."""
    files = models.download(version)
    return check_artifact(version.name, version.version, version.uri, files)


def _of_word(word: str, root: str) -> ModelArtifact:
    """The model that one word names: registered, or from a run, or in a folder here."""
    here = storage.absolute(word)
    is_model_here = storage.exists(storage.join(here, runs.DIGESTS))
    models = _registry(root)
    version = models.preferred(re.split("[@/]", word)[0]) if models else None
    if models and version and is_model_here:
        raise InputError(
            f"{word!r} is a registered model at {models.uri} and a model's folder here; "
            f"give models:/{word} or ./{word}."
        )
    if is_model_here:
        return read_artifact(here)
    has_alias_or_version = "@" in word or "/" in word
    if has_alias_or_version:
        return _named(word, models)
    if not models or not version:
        return _of_run(word, root, models)
    if storage.exists(here):
        log.info("%s: the registered model, not what is called so in this folder", word)
    return registered_artifact(models, version)


def _named(reference: str, models: Models | None) -> ModelArtifact:
    """The registered model that a reference names."""
    if models is None:
        raise InputError(f"no model {reference!r}: {_NOTHING_REGISTERED}")
    return registered_artifact(models, models.named(reference))


def _of_run(run_id: str, root: str, models: Models | None) -> ModelArtifact:
    """The model registered from a run; else the run's best checkpoint."""
    version = models.registered_from(run_id) if models else None
    if models and version:
        return registered_artifact(models, version)
    run = runs.run_url(root, run_id)
    best = runs.best(run) if run_id else None
    if best is not None:
        return read_artifact(storage.join(run, best))
    if models is None:
        raise InputError(f"no model {run_id!r}: {_NOTHING_REGISTERED}")
    reason = (
        f"no model was registered from run {run_id!r} at {models.uri}, "
        f"and {root} has no checkpoint of it"
    )
    if not run_id or _RUN_ID.fullmatch(run_id):
        raise InputError(f"{reason}.")
    raise InputError(f"no model {run_id!r}: {reason}; {models.names_like(run_id)}")


def _registry(root: str) -> Models | None:
    """The registry of a root; None where there is none yet."""
    from pipeline.registry.models import Models
    from pipeline.registry.tracking import Tracking, tracking_uri

    uri = tracking_uri(root)
    # To open a database makes it, with all of MLflow's migrations: a question should not.
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return None
    return Models(Tracking(root))
