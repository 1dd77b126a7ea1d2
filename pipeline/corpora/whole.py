"""Whether a version is whole, as far as names and sizes tell: what is not is built again.

That every byte is right is verify.py's question.
"""

from __future__ import annotations

import logging

from pipeline import storage
from pipeline.corpora.manifest import MANIFEST, Corpus, corpus_url, latest, open_version
from pipeline.corpora.manifest_data import Manifest
from pipeline.errors import DamagedError, InputError, StoreError

log = logging.getLogger("unreasonable")


def whole_version(url: str) -> Corpus | None:
    """The published version in a folder; None when something of it is missing, which is said."""
    if not storage.exists(storage.join(url, MANIFEST)):
        return None
    try:
        corpus = open_version(url)
    except StoreError:
        raise  # it may be whole, if only the store could be reached
    except InputError as error:  # a manifest that is damaged, or of another format
        log.warning("%s", error)
        return None
    missing = lacking(url, corpus.manifest)
    if missing:
        some = ", ".join(missing[:5])
        log.warning("%s is not whole: %s missing or of another size", url, some)
        return None
    return corpus


def newest_whole(root: str, name: str) -> Corpus | None:
    """The version that LATEST names, if it is whole."""
    version = named_latest(root, name)
    return whole_version(storage.join(corpus_url(root, name), version)) if version else None


def named_latest(root: str, name: str) -> str | None:
    """What LATEST names; None where it is missing, or is no name: a build writes it anew."""
    try:
        return latest(root, name)
    except DamagedError as error:
        log.warning("%s", error)
        return None


def lacking(url: str, manifest: Manifest) -> list[str]:
    """Names of the files of a version that are missing, or not of the size that they should have.

    One listing of its folder tells.
    """
    there = storage.sizes(url)
    wanted = list(manifest.files.values())
    for split in manifest.splits.values():
        wanted += split.shards
        wanted += [shard.unknown for shard in split.shards if shard.unknown is not None]
    return [entry.file for entry in wanted if there.get(entry.file) != entry.bytes]
