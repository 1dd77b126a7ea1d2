"""Which versions of a corpus there are, and which of them go when newer ones come.

A version is kept when it is among the newest `keep`, holds a file called PIN, or a run or a
registered model refers to it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline import runs, storage
from pipeline.corpora import leases, turns
from pipeline.corpora.manifest import (
    MANIFEST,
    Corpus,
    corpus_names,
    corpus_url,
    open_version,
)
from pipeline.corpora.whole import named_latest
from pipeline.errors import DamagedError, InputError

log = logging.getLogger("unreasonable")

PIN = "PIN"  # a file of this name in a version's folder keeps the version for good

# Who needs which version of a corpus: asked by the corpus's name, it gives version -> users.
References = Callable[[str], dict[str, list[str]]]


@dataclass(frozen=True)
class Version:
    """A published version.

    `published` is in seconds since 1970, None where the store does not say.
    """

    corpus: Corpus
    published: float | None
    is_latest: bool
    pinned: bool

    def row(self) -> dict[str, Any]:
        """What --list shows."""
        manifest = self.corpus.manifest
        return {
            "name": self.corpus.name,
            "version": self.corpus.version,
            "latest": self.is_latest,
            "pinned": self.pinned,
            "bytes": manifest.bytes.text,
            "documents": manifest.documents,
            "unit": self.corpus.vocab.unit,
            "vocab_size": len(self.corpus.vocab),
            "tokens": {name: split.tokens for name, split in manifest.splits.items()},
            "age_s": self._age_s(),
        }

    def _age_s(self) -> int | None:
        if self.published is None:
            return None
        # A store's clock may be ahead of ours.
        return round(max(0.0, time.time() - self.published))


def versions(root: str, name: str) -> list[Version]:
    """A corpus's published versions, newest first.

    One that cannot be opened is left out with a warning.
    """
    url = corpus_url(root, name)
    newest = named_latest(root, name)
    listed = []
    for folder in storage.names(url):
        version_url = storage.join(url, folder)
        manifest_url = storage.join(version_url, MANIFEST)
        if not storage.exists(manifest_url):
            continue
        try:
            corpus = open_version(version_url)
            published = storage.modified(manifest_url)
        except InputError as error:
            if storage.exists(manifest_url):
                log.warning("%s", error)
            continue
        except FileNotFoundError:  # it was removed since it was listed
            continue
        pinned = storage.exists(storage.join(version_url, PIN))
        listed.append(Version(corpus, published, folder == newest, pinned))
    return sorted(listed, key=_newness, reverse=True)


def catalogue(root: str) -> list[Version]:
    """Every version of every corpus under a root."""
    return [version for name in corpus_names(root) for version in versions(root, name)]


def run_references(root: str, name: str) -> dict[str, list[str]]:
    """Versions of a corpus that runs under the root were started with: version -> names of runs.

    Raises DamagedError for a run that does not say: it may need any version.
    """
    users: dict[str, list[str]] = {}
    folder = runs.runs_url(root)
    for run in storage.names(folder):
        url = storage.join(folder, run, runs.START)
        if not storage.exists(url):
            continue
        try:
            corpus = storage.read_json(url)["corpus"]
            learned, version = corpus["name"], corpus["version"]
        except (KeyError, TypeError) as error:
            raise DamagedError(
                f"{url} does not say which corpus its run learned ({type(error).__name__}: "
                f"{error}); restore it, or remove the run."
            ) from None
        if learned == name:
            users.setdefault(str(version), []).append(f"run {run}")
    return users


def prune(root: str, name: str, keep: int, models: References = lambda name: {}) -> list[str]:
    """Remove versions beyond the newest `keep` that nothing holds on to; returns their names.

    `keep` 0 keeps all. `models` tells which versions registered models were trained on. It is asked
    only when something could go, and nothing goes when it cannot say. Raises InputError for a
    `keep` below 0.
    """
    if keep < 0:
        raise InputError(f"keep is {keep}; it must be at least 0, which keeps all versions.")
    removed: list[str] = []
    candidates = _surplus(root, name, keep)
    users = _users(root, name, models) if candidates else None
    if users is not None:
        with turns.turn(root, name) as check:
            # Looked at again: another build may have made one of them the newest.
            still = {version.corpus.url for version in _surplus(root, name, keep)}
            still -= leases.claimed(root)
            for version in candidates:
                if version.corpus.url not in still:
                    continue
                check()
                if _removed(version.corpus, users.get(version.corpus.version, []), keep):
                    removed.append(version.corpus.version)
    leases.sweep_staging(root)
    _sweep_orphans(root, name)
    return removed


def _surplus(root: str, name: str, keep: int) -> list[Version]:
    """The versions behind the newest `keep` that nobody has pinned."""
    surplus = versions(root, name)[keep:] if keep else []
    return [version for version in surplus if not version.pinned]


def _newness(version: Version) -> tuple[bool, float, str]:
    """What versions are sorted by.

    LATEST comes first whenever it was published: a text that came back is the newest again. The
    name decides between equal times, so that every listing has one order.
    """
    return version.is_latest, version.published or 0.0, version.corpus.version


def _users(root: str, name: str, models: References) -> dict[str, list[str]] | None:
    """Version -> the runs and models that need it; None when nobody can say."""
    try:
        users = run_references(root, name)
    except DamagedError as error:
        log.warning("no version of %s is removed: %s", name, error)
        return None
    try:
        for version, names in models(name).items():
            users.setdefault(version, []).extend(names)
    except Exception as error:  # every tracking server has exceptions of its own
        reason = str(error).split("\n")[0]
        log.warning(
            "no version of %s is removed: cannot ask which models use them (%s)", name, reason
        )
        return None
    return users


def _removed(corpus: Corpus, users: list[str], keep: int) -> bool:
    """Remove a version, unless it has users; whether it is gone."""
    if users:
        some = ", ".join(sorted(users)[:5])
        log.info("corpus %s: version %s stays for %s", corpus.name, corpus.version, some)
        return False
    # The manifest goes first: a removal that is killed leaves no version that looks complete.
    storage.remove(storage.join(corpus.url, MANIFEST))
    storage.remove_tree(corpus.url)
    log.info(
        "corpus %s: version %s removed, there are %d newer ones", corpus.name, corpus.version, keep
    )
    return True


def _sweep_orphans(root: str, name: str) -> None:
    """Remove what killed builds and removals left: old version folders without a manifest, and old
    files that were on their way.
    """
    url = corpus_url(root, name)
    leases.sweep_temporary(root)  # whoever asks whether a root can be written leaves one, too
    leases.sweep_temporary(url)
    is_file = storage.sizes(url)  # LATEST and sources.json
    for folder in storage.names(url):
        if folder in is_file:
            continue
        place = storage.join(url, folder)
        leases.sweep_temporary(place)
        if not _is_orphan(place):
            continue
        with turns.turn(root, name) as check:
            # A builder may have begun to write this version again.
            if _is_orphan(place) and place not in leases.claimed(root):
                check()
                storage.remove_tree(place)


def _is_orphan(folder: str) -> bool:
    files = storage.names(folder)
    return not {MANIFEST, PIN} & set(files) and leases.is_old(folder)
