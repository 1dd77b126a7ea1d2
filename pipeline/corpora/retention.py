"""Which versions of a corpus there are, and which of them go when newer ones come.

A version is kept when it is among the newest `keep`, holds a file called PIN, or a run or a registered model refers to it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.corpora.manifest import LATEST, MANIFEST, Corpus, corpus_names, corpus_url, latest, open_version
from pipeline.errors import InputError

log = logging.getLogger("unreasonable")

PIN = "PIN"  # a file of this name in a version's folder keeps the version for good
START = "start.json"  # in a run's folder: what it was started with
ORPHAN_S = 24 * 3600.0  # a folder without a manifest may be a build under way: it goes when nothing in it is newer than this

References = Callable[[str], dict[str, list[str]]]


@dataclass(frozen=True)
class Version:
    """A published version: when it was (seconds since 1970, None where the store does not say), and its manifest."""

    corpus: Corpus
    published: float | None
    is_latest: bool
    pinned: bool

    def row(self) -> dict[str, Any]:
        """What --list shows."""
        about = self.corpus.manifest
        return {
            "name": self.corpus.name,
            "version": self.corpus.version,
            "latest": self.is_latest,
            "pinned": self.pinned,
            "bytes": about["bytes"]["text"],
            "documents": about["documents"],
            "unit": self.corpus.vocab.unit,
            "vocab_size": len(self.corpus.vocab),
            "tokens": {split: about["splits"][split]["tokens"] for split in about["splits"]},
            "age_s": None if self.published is None else round(max(0.0, time.time() - self.published)),
        }


def versions(root: str, name: str) -> list[Version]:
    """A corpus's published versions, newest first; one that cannot be opened is left out with a warning."""
    url, newest = corpus_url(root, name), latest(root, name)
    found = []
    for version in storage.names(url):
        manifest = storage.join(url, version, MANIFEST)
        if not storage.exists(manifest):
            continue
        try:
            corpus = open_version(storage.join(url, version))
        except InputError as error:
            log.warning("%s", error)
            continue
        pinned = storage.exists(storage.join(url, version, PIN))
        found.append(Version(corpus, storage.modified(manifest), version == newest, pinned))
    return sorted(found, key=lambda v: (v.is_latest, v.published or 0.0, v.corpus.version), reverse=True)


def catalogue(root: str) -> list[Version]:
    """Every version of every corpus under a root."""
    return [version for name in corpus_names(root) for version in versions(root, name)]


def run_references(root: str, name: str) -> dict[str, list[str]]:
    """Versions of a corpus that runs under the root were started with: version -> names of the runs."""
    found: dict[str, list[str]] = {}
    folder = storage.join(root, "runs")
    for run in storage.names(folder):
        url = storage.join(folder, run, START)
        if not storage.exists(url):
            continue
        corpus = storage.read_json(url)["corpus"]
        if corpus["name"] == name:
            found.setdefault(corpus["version"], []).append(f"run {run}")
    return found


def prune(root: str, name: str, keep: int, models: References = lambda name: {}) -> list[str]:
    """Remove versions beyond the newest `keep` that nothing holds on to; returns their names. `keep` 0 keeps all.

    `models` tells which versions registered models were trained on; it is asked only when something could go, and
    nothing goes when it cannot say. A version disappears with its manifest, which goes first.
    """
    removed: list[str] = []
    old = [version for version in versions(root, name)[keep:] if not version.pinned] if keep else []
    if old:
        held = run_references(root, name)
        try:
            for number, names in models(name).items():
                held.setdefault(number, []).extend(names)
        except Exception as error:  # every tracking server has exceptions of its own
            log.warning("no version of %s is removed: cannot ask which models use them (%s)", name, str(error).split("\n")[0])
            old = []
        for version in old:
            if users := held.get(version.corpus.version):
                log.info("corpus %s: version %s stays for %s", name, version.corpus.version, ", ".join(sorted(users)[:5]))
                continue
            _remove(version.corpus.url)
            removed.append(version.corpus.version)
            log.info("corpus %s: version %s removed, there are %d newer ones", name, version.corpus.version, keep)
    _sweep_orphans(root, name)
    return removed


def _remove(url: str) -> None:
    storage.remove(storage.join(url, MANIFEST))
    storage.remove_tree(url)


def _sweep_orphans(root: str, name: str) -> None:
    """Remove what builds and removals that were killed left: version folders without a manifest and without news."""
    url = corpus_url(root, name)
    for folder in storage.names(url):
        inside = storage.join(url, folder)
        files = storage.names(inside)
        if folder == LATEST or not files or MANIFEST in files or PIN in files:
            continue
        ages = [time.time() - (storage.modified(storage.join(inside, file)) or time.time()) for file in files]
        if min(ages) > ORPHAN_S:
            storage.remove_tree(inside)
