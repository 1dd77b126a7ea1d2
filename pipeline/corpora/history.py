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
from pipeline.corpora.sources import Listing, kind_of
from pipeline.errors import InputError

FRESH_S = 2.0  # a file modified this shortly before it was listed may change again within its timestamp's resolution


def source_state(config: CorpusConfig, listing: Listing) -> str | None:
    """A digest of what the sources look like from outside; None when that does not tell whether they changed."""
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode())
    newest = (time.time() - FRESH_S) * 1e9
    for file in [*listing.files, *listing.streams]:
        kind, _, value = file.state.partition(":")
        if not value or file.url.startswith(("http:", "https:")) or "::http" in file.url:
            return None
        if kind == "mtime" and float(value) * (1 if float(value) > 1e12 else 1e9) > newest:
            return None
        digest.update(repr((file.path, file.url, file.size, file.state)).encode("utf-8", "surrogateescape"))
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


def _record_url(root: str, config: CorpusConfig) -> str:
    return storage.join(corpus_url(root, config.name), "sources.json")


def check_expected(config: CorpusConfig, listing: Listing) -> None:
    """Compare the single source with the recipe's expected size and MD5, before anything is made of it."""
    if not config.expect_bytes and not config.expect_md5:
        return
    (file,) = [*listing.files, *listing.streams]
    digest, size = hashlib.md5(usedforsecurity=False), 0
    import fsspec

    with fsspec.open(file.url, "rb", compression=kind_of(file.url)[0]) as stream:
        while piece := stream.read(8 << 20):
            digest.update(piece)
            size += len(piece)
    found: dict[str, Any] = {"expect_bytes": size, "expect_md5": digest.hexdigest()}
    for option, value in found.items():
        wanted = getattr(config, option)
        if wanted and wanted != value:
            raise InputError(
                f"{file.url} is not the text this recipe expects: {option} is {wanted}, found {value}. Fetch it again."
            )


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
