"""Registered models seen from outside: what there is, how good, where it comes from; and carried between registries."""

from __future__ import annotations

import json
import time
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.corpora.manifest import DOCUMENTS, MANIFEST, Corpus, corpus_url, open_corpus, open_version
from pipeline.corpora.retention import START
from pipeline.errors import InputError
from pipeline.exchange import Carried, read_archive, write_archive
from pipeline.experiment import new_run_id, score_on
from pipeline.registry import CHAMPION, DIGEST_TAG, RUN_TAG, ModelVersion, Registry
from pipeline.training import checkpoint
from pipeline.training.artifact import CARD, CONFIG

IMPORTED_TAG = "imported_from"
EVAL_LANES = 64


def rows(registry: Registry, name: str = "") -> list[dict[str, Any]]:
    """One row a registered version, by name and number: what it learned, how good it is, how old."""
    found = sorted(registry.versions(f"name = '{name}'" if name else ""), key=lambda v: (v.name, int(v.version)))
    if name and not found:
        raise InputError(f"no model {name!r} at {registry.uri}; `models.py list` shows what is registered.")
    aliases = {name: registry.aliases(name) for name in {version.name for version in found}}
    return [
        {
            "name": version.name,
            "version": version.version,
            "aliases": sorted(alias for alias, number in aliases[version.name].items() if number == version.version),
            "corpus": version.tags.get("corpus", ""),
            "val_bits_per_byte": _number(version.tags.get("val_bits_per_byte")),
            "val_loss": _number(version.tags.get("val_loss")),
            "precision": version.tags.get("precision", "fp32"),
            "run_id": version.tags.get(RUN_TAG, ""),
            "imported_from": version.tags.get(IMPORTED_TAG, ""),
            "age_s": time.time() - version.created,
        }
        for version in found
    ]


def lineage(registry: Registry, version: ModelVersion, root: str, documents: int | None = 10) -> dict[str, Any]:
    """Where a version comes from: run, corpus, sources, and the digests of `documents` source documents (None: all).

    `documents_sha256` is of all of them, and is in the version's tags: a corpus that is still there proves itself by it.
    """
    config = json.loads(registry.fetch(version)[CONFIG])
    corpus, run_id = config["corpus"], version.tags.get(RUN_TAG, "")
    run_url = storage.join(root, "runs", run_id)
    there = _corpus(root, corpus)
    listed = _documents(there) if there else []
    return {
        "model": version.uri,
        "imported_from": version.tags.get(IMPORTED_TAG, ""),
        "run": {"run_id": run_id, "mlflow_run_id": version.mlflow_run_id, "url": run_url if _is_run(run_url) else None},
        "corpus": {**corpus, "url": there.url if there else None},
        "sources": config.get("lineage", {}),
        "documents": [{"path": path, "sha256": digest} for path, digest in listed[:documents]],
        "weights_sha256": version.tags.get(f"{DIGEST_TAG}weights.safetensors", ""),
        "train": config["train"],
    }


def compare(registry: Registry, one: ModelVersion, other: ModelVersion, root: str, corpus: str = "") -> dict[str, Any]:
    """Two versions' bits per byte on one validation text.

    That is their registered figures when both learned one corpus version; else both are scored on `corpus` (NAME or
    NAME@VERSION; default: the newest version of what the first one learned).
    """
    same = one.tags.get("corpus_fingerprint") == other.tags.get("corpus_fingerprint")
    if same and not corpus:
        scores = [float(version.tags["val_bits_per_byte"]) for version in (one, other)]
        text, how = one.tags["corpus"], "registered"
    else:
        opened = open_corpus(root, corpus or one.tags["corpus"].partition("@")[0])
        scores = [score_on(registry, version, opened, EVAL_LANES) for version in (one, other)]
        text, how = f"{opened.name}@{opened.version}", "scored now"
    better = one if scores[0] <= scores[1] else other
    return {
        "text": f"val of {text}",
        "figures": how,
        "val_bits_per_byte": {one.uri: scores[0], other.uri: scores[1]},
        "better": better.uri,
        "by": abs(scores[0] - scores[1]),
    }


def export_model(registry: Registry, version: ModelVersion, root: str, url: str) -> dict[str, Any]:
    """Write a version as one archive (exchange.py)."""
    origin = lineage(registry, version, root, documents=None)
    files = {**registry.fetch(version), CARD: version.description.encode()}
    licence = _licence(version, origin["sources"])
    digest = write_archive(url, Carried(version.name, version.version, files, version.tags, origin), licence)
    return {"model": version.uri, "archive": url, "sha256": digest, "documents": len(origin["documents"])}


def import_model(registry: Registry, url: str, name: str = "", sha256: str = "") -> ModelVersion:
    """Register an archive's model as the next version of its own name, or of `name`. No alias moves: promote it by hand."""
    carried = read_archive(url, sha256)
    name = name or carried.name
    _check_name(name)
    mlflow_id = registry.start_import(name, url, carried.lineage)
    more = {IMPORTED_TAG: f"{carried.name}/{carried.version} in {url}"}
    run_id = carried.tags.get(RUN_TAG) or new_run_id()
    try:
        version = registry.register(name, mlflow_id, run_id, carried.files, more)
    except BaseException:
        registry.end_run(mlflow_id, "FAILED")
        raise
    registry.end_run(mlflow_id, "FINISHED")
    return version


def promote(registry: Registry, version: ModelVersion) -> dict[str, Any]:
    """Make a version the champion, whatever the figures say."""
    before = registry.champion(version.name)
    registry.promote(version)
    return {"model": version.uri, "alias": CHAMPION, "before": before.uri if before else None}


def parameters(registry: Registry, version: ModelVersion) -> int:
    """Weights in a version's model."""
    model, _, _ = checkpoint.load_model(registry.fetch(version), version.uri)
    return model.num_parameters()


def _corpus(root: str, corpus: dict[str, Any]) -> Corpus | None:
    """The corpus version that a config names, if it is under this root still and is that one."""
    url = storage.join(corpus_url(root, corpus["name"]), corpus["version"])
    if not storage.exists(storage.join(url, MANIFEST)):
        return None
    found = open_version(url)
    return found if found.fingerprint == corpus["fingerprint"] else None


def _documents(corpus: Corpus) -> list[tuple[str, str]]:
    """(path, SHA-256) of every source document, in path order."""
    table = pa.ipc.open_file(pa.BufferReader(storage.read_bytes(storage.join(corpus.url, DOCUMENTS)))).read_all()
    found = set(zip(table["path"].to_pylist(), table["digest"].to_pylist(), strict=True))
    return [(path.decode("utf-8", "surrogateescape"), digest.hex()) for path, digest in sorted(found)]


def _is_run(url: str) -> bool:
    return storage.exists(storage.join(url, START))


def _licence(version: ModelVersion, sources: dict[str, Any]) -> str:
    """What is known of the licence of the text that the weights were made of."""
    stated = sources.get("licence") or "not stated"
    where = sources.get("url") or ", ".join(sources.get("sources", []))
    return (
        f"The weights of {version.name}/{version.version} were made from text with this licence: {stated}\n"
        f"The text is from: {where}\nWhoever shares the weights or their samples should look at what that licence asks for.\n"
    )


def _check_name(name: str) -> None:
    if not name or any(character in name for character in "/:.%\"'") or not name.isprintable():
        raise InputError(f"model name {name!r} cannot be registered: give --name without / : . % or quotes.")


def _number(text: str | None) -> float | None:
    return float(text) if text else None
