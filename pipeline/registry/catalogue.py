"""Registered models seen from outside: what there is, how good, where it comes from; and carried
between registries.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import runs, storage
from pipeline.corpora.manifest import MANIFEST, Corpus, corpus_url, open_corpus, open_version
from pipeline.errors import InputError
from pipeline.model.about import CorpusReference, Lineage
from pipeline.model.artifact import CARD, WEIGHTS, load_network, parse_about
from pipeline.registry.archive import Carried, read_archive, write_archive
from pipeline.registry.champion import DIVISION_TAG, IMPORTED_TAG, may_have_learnt, score_on
from pipeline.registry.models import CHAMPION, DIGEST_TAG, SETTINGS_TAG, Models, ModelVersion
from pipeline.registry.names import check_name
from pipeline.registry.tracking import RUN_TAG

log = logging.getLogger("unreasonable")

IMPORTED_RUN_TAG = "imported_run_id"  # the run that trained it, under another root
EVAL_LANES = 64


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One registered version in a list: what it learned, how good it is, how old (seconds)."""

    name: str
    version: str
    aliases: list[str]
    corpus: str
    val_bits_per_byte: float | None
    val_loss: float | None
    precision: str
    run_id: str
    imported_from: str
    age_s: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class VersionLineage:
    """Where a version comes from: run, corpus, sources, and the digests of source documents.

    `sources.documents_sha256` is of all documents, and is in the version's tags: a corpus that is
    still there proves itself by it. `corpus_url` and `run_url` are None for what is not under this
    root any more.
    """

    model: str
    imported_from: str
    run_id: str
    mlflow_run_id: str
    run_url: str | None
    corpus: CorpusReference
    corpus_url: str | None
    sources: Lineage | None
    documents: list[tuple[str, str]]  # path, SHA-256 (hex)
    weights_sha256: str
    train: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "imported_from": self.imported_from,
            "run": {
                "run_id": self.run_id,
                "mlflow_run_id": self.mlflow_run_id,
                "url": self.run_url,
            },
            "corpus": {**self.corpus.to_json(), "url": self.corpus_url},
            "sources": self.sources.to_json() if self.sources else {},
            "documents": [{"path": path, "sha256": digest} for path, digest in self.documents],
            "weights_sha256": self.weights_sha256,
            "train": self.train,
        }


@dataclass(frozen=True)
class Comparison:
    """Two versions' bits per byte on one text, by version; the better one, and by how much.

    `figures` says whether they were registered with the versions or scored for this;
    `may_have_learnt` why a version may know some of the text already, by version.
    """

    text: str
    figures: str
    val_bits_per_byte: dict[str, float]
    better: str
    by: float
    may_have_learnt: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Exported:
    """An archive that was written: of which version, where, its SHA-256 (hex), and the number of
    source documents whose digests it carries.
    """

    model: str
    archive: str
    sha256: str
    documents: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Promotion:
    """An alias that was given to a version, and the version that had it before, if any had."""

    model: str
    alias: str
    before: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def list_models(models: Models, name: str = "") -> list[ModelRow]:
    """A row for each registered version, by name and number."""
    versions = models.versions_of(name) if name else models.versions()
    if name and not versions:
        raise InputError(
            f"no model {name!r} at {models.uri}; `models.py list` shows what is registered."
        )
    # One question a model, not one a version.
    aliases = {each: models.aliases(each) for each in {version.name for version in versions}}
    in_order = sorted(versions, key=lambda version: (version.name, version.number))
    return [_row(version, aliases[version.name]) for version in in_order]


def lineage(
    models: Models, version: ModelVersion, root: str, documents: int | None = 10
) -> VersionLineage:
    """Where a version comes from, with the digests of at most `documents` source documents (None:
    all).
    """
    about = parse_about(models.download(version), version.uri)
    run_id = version.tags.get(IMPORTED_RUN_TAG) or version.tags.get(RUN_TAG, "")
    is_ours = IMPORTED_RUN_TAG not in version.tags
    run_url = runs.run_url(root, run_id)
    corpus = _corpus_still_there(root, about.corpus)
    listed = _documents(corpus) if corpus else []
    return VersionLineage(
        model=version.uri,
        imported_from=version.tags.get(IMPORTED_TAG, ""),
        run_id=run_id,
        mlflow_run_id=version.mlflow_run_id,
        run_url=run_url if is_ours and runs.is_run(run_url) else None,
        corpus=about.corpus,
        corpus_url=corpus.url if corpus else None,
        sources=about.lineage,
        documents=listed[:documents],
        weights_sha256=version.tags.get(f"{DIGEST_TAG}{WEIGHTS}", ""),
        train=about.train,
    )


def compare(
    models: Models, one: ModelVersion, other: ModelVersion, root: str, corpus: str = ""
) -> Comparison:
    """Two versions' bits per byte on one validation text.

    That is their registered figures when both learned one corpus version; else both are scored on
    `corpus` (NAME or NAME@VERSION; default: the newest version of what the first one learned). A
    version that may have learnt some of that text is warned of, with the reason.
    """
    learnt: dict[str, str] = {}
    # Two registered figures compare only when they were measured on the same text.
    same_text = one.tags.get("corpus_fingerprint") == other.tags.get("corpus_fingerprint")
    claimed = [_own_figure(version) for version in (one, other)]
    scores = [figure for figure in claimed if figure is not None]
    if same_text and len(scores) == 2 and not corpus:
        text = one.tags["corpus"]
        figures = "registered"
    else:
        opened = open_corpus(root, corpus or _corpus_name(one))
        scores = [score_on(models, version, opened, EVAL_LANES) for version in (one, other)]
        text = f"{opened.name}@{opened.version}"
        figures = "scored now"
        for version in (one, other):
            reason = may_have_learnt(version, opened)
            if reason:
                learnt[version.uri] = reason
                log.warning("%s may have learnt some of this text: %s", version.uri, reason)
    # Of equals the first: whoever compares names the one in use first.
    better = one if scores[0] <= scores[1] else other
    return Comparison(
        text=f"val of {text}",
        figures=figures,
        val_bits_per_byte={one.uri: scores[0], other.uri: scores[1]},
        better=better.uri,
        by=abs(scores[0] - scores[1]),
        may_have_learnt=learnt,
    )


def export_model(models: Models, version: ModelVersion, root: str, url: str) -> Exported:
    """Write a version as one archive (archive.py)."""
    origin = lineage(models, version, root, documents=None)
    # The card is the version's description: the file beside the weights is for who browses MLflow.
    files = {**models.download(version), CARD: version.description.encode()}
    carried = Carried(version.name, version.version, files, version.tags, origin.to_json())
    digest = write_archive(url, carried, licence_text(version, origin.sources or Lineage()))
    return Exported(version.uri, url, digest, len(origin.documents))


def import_model(models: Models, url: str, name: str = "", sha256: str = "") -> ModelVersion:
    """Register an archive's model as the next version of its own name, or of `name`.

    No alias moves: whoever imports promotes by hand.
    """
    carried = read_archive(url, sha256)
    name = name or carried.name
    check_name(name)  # also the archive's own: it comes from elsewhere
    tags = {
        IMPORTED_TAG: f"{carried.name}/{carried.version} in {url}",
        SETTINGS_TAG: carried.tags.get(SETTINGS_TAG, ""),
    }
    if DIVISION_TAG in carried.tags:
        tags[DIVISION_TAG] = carried.tags[DIVISION_TAG]
    # An id of another root may be the id of a run here, whose model this is not.
    theirs = carried.tags.get(RUN_TAG, "")
    if theirs:
        tags[IMPORTED_RUN_TAG] = theirs
    run_id = f"import-{runs.new_run_id()}"
    # No figure of the archive is a tag by itself: registering takes them from the checked config.
    # A run of its own: the one that trained the model is on another server.
    mlflow_id = models.tracking.start_import(name, url, carried.lineage)
    try:
        version = models.register(name, mlflow_id, run_id, carried.files, tags)
    except BaseException:
        models.tracking.end_run(mlflow_id, "FAILED")
        raise
    models.tracking.end_run(mlflow_id, "FINISHED")
    return version


def promote(models: Models, version: ModelVersion) -> Promotion:
    """Make a version the champion, whatever the figures say."""
    before = models.champion(version.name)
    models.promote(version)
    return Promotion(version.uri, CHAMPION, before.uri if before else None)


def parameters(models: Models, version: ModelVersion) -> int:
    """Weights in a version's model."""
    network, _, _ = load_network(models.download(version), version.uri)
    return network.num_parameters()


def licence_text(version: ModelVersion, sources: Lineage) -> str:
    """What is known of the licence of the text that the weights were made of."""
    stated = sources.licence or "not stated"
    where = sources.url or ", ".join(sources.sources)
    named = f"{version.name}/{version.version}"
    return (
        f"The weights of {named} were made from text with this licence: {stated}\n"
        f"The text is from: {where}\n"
        "Whoever shares the weights or their samples should look at what that licence asks for.\n"
    )


def _row(version: ModelVersion, aliases: dict[str, str]) -> ModelRow:
    """A version as a row; `aliases` are its model's, with the version number of each."""
    tags = version.tags
    return ModelRow(
        name=version.name,
        version=version.version,
        aliases=sorted(alias for alias, number in aliases.items() if number == version.version),
        corpus=tags.get("corpus", ""),
        val_bits_per_byte=_number(tags.get("val_bits_per_byte")),
        val_loss=_number(tags.get("val_loss")),
        precision=tags.get("precision", "fp32"),
        run_id=tags.get(RUN_TAG, ""),
        imported_from=tags.get(IMPORTED_TAG, ""),
        age_s=time.time() - version.created,
    )


def _own_figure(version: ModelVersion) -> float | None:
    """The bits per byte that were measured here; None where they are another registry's claim."""
    if IMPORTED_TAG in version.tags:
        return None
    return _number(version.tags.get("val_bits_per_byte"))


def _corpus_name(version: ModelVersion) -> str:
    name = version.tags.get("corpus", "").partition("@")[0]
    if not name:
        raise InputError(f"{version.uri} does not say what it learned; give --corpus NAME.")
    return name


def _corpus_still_there(root: str, reference: CorpusReference) -> Corpus | None:
    """The corpus version that a config names, if it is under this root still and is that one."""
    url = storage.join(corpus_url(root, reference.name), reference.version)
    # Of a rebuilt corpus the version has another name; a version of that name in another root need
    # not be the same text, so its fingerprint is compared.
    if not storage.exists(storage.join(url, MANIFEST)):
        return None
    corpus = open_version(url)
    return corpus if corpus.fingerprint == reference.fingerprint else None


def _documents(corpus: Corpus) -> list[tuple[str, str]]:
    """(path, SHA-256) of every source document, in path order."""
    table = corpus.documents()
    # A document that a split cuts has a row in each.
    rows = set(zip(table["path"].to_pylist(), table["digest"].to_pylist(), strict=True))
    return [
        (path.decode("utf-8", "surrogateescape"), digest.hex()) for path, digest in sorted(rows)
    ]


def _number(text: str | None) -> float | None:
    """A figure in a tag, which anybody may have written; None for what is no finite number."""
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
