"""Published corpora: what a version is, how it is found, opened, checked and listed.

    <root>/corpora/<name>/<version>/    train-00000.arrow ... documents.arrow skipped.jsonl, and last manifest.json
    <root>/corpora/<name>/LATEST        the newest version, replaced after the manifest

Same fingerprint, same bytes: two builders that write one version cannot harm each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.corpora import shards
from pipeline.corpora.vocab import Vocab
from pipeline.errors import DamagedError, InputError

FORMAT = 2
MANIFEST, LATEST, DOCUMENTS, SKIPPED = "manifest.json", "LATEST", "documents.arrow", "skipped.jsonl"


@dataclass(frozen=True)
class Corpus:
    """An open corpus version. `manifest` is the parsed manifest.json; `url` its folder."""

    url: str
    manifest: dict[str, Any]
    vocab: Vocab

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        return str(self.manifest["version"])

    @property
    def fingerprint(self) -> str:
        return str(self.manifest["fingerprint"])

    def tokens_in(self, split: str) -> int:
        return int(self.manifest["splits"][split]["tokens"])

    def bytes_in(self, split: str) -> int:
        """UTF-8 bytes (or raw bytes) that the split's tokens stand for."""
        return int(self.manifest["splits"][split]["bytes"])

    def open_split(self, split: str, *, verify: bool = False) -> shards.Tokens:
        """The tokens of a split, memory-mapped; a shard of the wrong size is refused by name, and with `verify` digest."""
        return shards.Tokens(self._open_shard(shard, verify) for shard in self.manifest["splits"][split]["shards"])

    def local(self, file: dict[str, Any], *, verify: bool = False) -> str:
        """A local path of one of the version's files, given its manifest entry; the size is always checked."""
        url = storage.join(self.url, file["file"])
        path = local_shard(url, file)
        if verify and storage.sha256(path) != file["sha256"]:
            raise DamagedError(f"shard {url} does not have the digest in its manifest; build the corpus again with --force.")
        return path

    def _open_shard(self, shard: dict[str, Any], verify: bool) -> Any:
        url = storage.join(self.url, shard["file"])
        path = self.local(shard, verify=verify)
        tokens = shards.open_shard(path)
        if len(tokens) != shard["tokens"] or tokens.dtype != self.vocab.dtype:
            raise DamagedError(
                f"shard {url} holds {len(tokens)} {tokens.dtype} tokens, not {shard['tokens']} {self.vocab.dtype}."
            )
        return tokens


def local_shard(url: str, shard: dict[str, Any]) -> str:
    """A local path of a shard: itself, or a checked copy in the node's cache. The size is always checked."""
    if storage.is_local(url):
        path = storage.filesystem(url)[1]
        found = os.path.getsize(path) if os.path.exists(path) else None
        if found != shard["bytes"]:
            state = "is missing" if found is None else f"has {found} bytes, its manifest says {shard['bytes']}"
            raise DamagedError(f"shard {url} {state}; build the corpus again with --force.")
        return path
    return _cached(url, shard)


def _cached(url: str, shard: dict[str, Any]) -> str:
    """Fetch a remote shard once per node; named by digest, so that a cache entry cannot be stale."""
    folder = os.environ.get("UNREASONABLE_CACHE") or os.path.join(tempfile.gettempdir(), f"unreasonable-{os.getuid()}")
    path = os.path.join(folder, "shards", f"{shard['sha256']}.arrow")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.stat(folder).st_uid != os.getuid():  # in a shared temporary directory, somebody else may have made it first
        raise InputError(f"cache folder {folder} belongs to another user; set UNREASONABLE_CACHE.")
    if os.path.exists(path) and os.path.getsize(path) == shard["bytes"]:
        return path
    try:
        data = storage.read_bytes(url)
    except FileNotFoundError:
        raise DamagedError(f"shard {url} is missing; build the corpus again with --force.") from None
    if storage.sha256_bytes(data) != shard["sha256"]:
        raise DamagedError(f"shard {url} does not have the digest in its manifest; build the corpus again with --force.")
    storage.write_bytes(path, data)
    return path


def identity(shaping: dict[str, Any], vocab: Vocab, documents: str, skipped: bytes, unicode: str) -> dict[str, Any]:
    """Everything that decides the bytes of a version; it stands in the manifest as it is.

    `documents` is digest_of_documents, `skipped` the bytes of skipped.jsonl, `unicode` the Unicode data's version.
    """
    return {
        "format": FORMAT,
        "corpus": shaping,
        "vocab": vocab.to_json(),
        "unicode": unicode,
        "documents_sha256": documents,
        "skipped_sha256": storage.sha256_bytes(skipped),
    }


def digest_of_documents(documents: Iterable[tuple[bytes, bytes]]) -> str:
    """SHA-256 (hex) over the (path, digest) pairs of all documents, sorted."""
    digest = hashlib.sha256()
    for path, content in sorted(documents):
        digest.update(len(path).to_bytes(4, "big") + path + content)
    return digest.hexdigest()


def fingerprint(manifest: dict[str, Any]) -> str:
    """The content address (hex) of a manifest's identity fields. Raises KeyError when one is missing."""
    fields = ("format", "corpus", "vocab", "unicode", "documents_sha256", "skipped_sha256")
    return hashlib.sha256(json.dumps({field: manifest[field] for field in fields}, sort_keys=True).encode()).hexdigest()


def corpus_url(root: str, name: str) -> str:
    return storage.join(root, "corpora", name)


def split_reference(reference: str) -> tuple[str, str]:
    """'name' or 'name@version' as (name, version); the version is '' for the latest."""
    name, _, version = reference.partition("@")
    return name, version


def latest(root: str, name: str) -> str | None:
    """The newest published version, or None."""
    url = storage.join(corpus_url(root, name), LATEST)
    return storage.read_bytes(url).decode().strip() if storage.exists(url) else None


def corpus_names(root: str) -> list[str]:
    """Names of the corpora that have a published version."""
    folder = storage.join(root, "corpora")
    return [name for name in storage.names(folder) if storage.exists(storage.join(folder, name, LATEST))]


def open_corpus(root: str, reference: str) -> Corpus:
    """Open NAME or NAME@VERSION under a root. What does not exist, or has another format, is an InputError by name."""
    name, version = split_reference(reference)
    newest = latest(root, name)
    if not newest:
        known = ", ".join(corpus_names(root)) or "none"
        raise InputError(
            f"no corpus {name!r} under {root} (there are: {known}); build it: python jobs/build_corpus.py --recipe {name}"
        )
    return open_version(storage.join(corpus_url(root, name), version or newest))


def open_version(url: str) -> Corpus:
    """Open the corpus version in a folder; its format and fingerprint are always checked."""
    manifest_url = storage.join(url, MANIFEST)
    if not storage.exists(manifest_url):
        raise InputError(f"no corpus version at {url}; `python jobs/build_corpus.py --list` shows what is there.")
    manifest = storage.read_json(manifest_url)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{manifest_url} is not a format {FORMAT} manifest; build the corpus again with this version.")
    try:
        intact = fingerprint(manifest) == manifest["fingerprint"] and manifest["version"] == manifest["fingerprint"][:12]
    except (KeyError, TypeError):
        intact = False
    if not intact:
        raise DamagedError(f"{manifest_url} does not have the fingerprint it names; build the corpus again with --force.")
    return Corpus(url, manifest, Vocab.from_json(manifest["vocab"]))


def publish(url: str, manifest: dict[str, Any]) -> None:
    """Make a version visible: its manifest, then the name's LATEST. Every file it lists must be there already."""
    storage.write_json(storage.join(url, MANIFEST), manifest)
    folder, version = url.rsplit("/", 1)
    storage.write_bytes(storage.join(folder, LATEST), f"{version}\n".encode())
