"""What a build remembers beside the versions: which state of the sources gave which version, and its staging leases.

None of it is part of a version, because none of it is deterministic.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from typing import Any

from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import MANIFEST, corpus_url
from pipeline.corpora.sources import Listing
from pipeline.corpora.vocab import Vocab

RECORD = "sources.json"
FRESH_S = 2.0  # a file modified this shortly before it was listed may change again within its timestamp's resolution


def source_state(config: CorpusConfig, listing: Listing, frozen: Vocab | None) -> str | None:
    """A digest of what the sources look like from outside; None when that does not tell whether they changed."""
    head = {"config": asdict(config), "vocab": frozen.fingerprint if frozen else ""}
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    newest = (time.time() - FRESH_S) * 1e9
    for file in [*listing.files, *listing.streams]:
        kind, _, value = file.state.partition(":")
        if not value or file.url.startswith(("http:", "https:")) or "::http" in file.url:
            return None
        if kind == "mtime" and float(value) * (1 if float(value) > 1e12 else 1e9) > newest:
            return None
        digest.update(repr((file.path, file.url, file.size, file.state, file.within)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def version_of(root: str, config: CorpusConfig, state: str | None) -> str | None:
    """The published version that this state of the sources gave, if any."""
    url = _record_url(root, config)
    if state is None or not storage.exists(url):
        return None
    record = storage.read_json(url)
    published = storage.exists(storage.join(corpus_url(root, config.name), str(record["version"]), MANIFEST))
    return str(record["version"]) if record["state"] == state and published else None


def record(root: str, config: CorpusConfig, state: str | None, version: str) -> None:
    value = {"state": state, "version": version, "sources": config.sources, "url": config.url, "licence": config.licence}
    storage.write_json(_record_url(root, config), value)


def origin(root: str, name: str) -> dict[str, Any]:
    """Where a corpus comes from, as its last build was told: sources, url, licence. Empty when nobody has recorded it."""
    url = storage.join(corpus_url(root, name), RECORD)
    return dict(storage.read_json(url)) if storage.exists(url) else {}


def _record_url(root: str, config: CorpusConfig) -> str:
    return storage.join(corpus_url(root, config.name), RECORD)


def new_staging(root: str, name: str, lease_s: float) -> str:
    """A folder for one build's staged text, with a lease: nobody sweeps it before that has run out."""
    url = storage.join(root, "corpora", ".staging", name)
    storage.write_json(storage.join(url, "lease.json"), {"expires": time.time() + lease_s})
    return url


def sweep_staging(root: str) -> None:
    """Remove what killed builds left behind, once its lease has run out."""
    folder = storage.join(root, "corpora", ".staging")
    for name in storage.names(folder):
        lease = storage.join(folder, name, "lease.json")
        if storage.exists(lease) and storage.read_json(lease)["expires"] < time.time():
            storage.remove_tree(storage.join(folder, name))
