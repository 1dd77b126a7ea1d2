"""Published corpora: where a version lies, and how it is found, opened, checked and published.

    <root>/corpora/<name>/<version>/    train-00000.arrow ... documents.arrow skipped.jsonl,
                                        and last manifest.json
    <root>/corpora/<name>/LATEST        the newest version, replaced after the manifest

Same fingerprint, same bytes: two builders that write one version cannot harm each other.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import storage
from pipeline.corpora import leases, shards
from pipeline.corpora.config import NAME_PATTERN
from pipeline.corpora.manifest_data import (
    READABLE,
    FileEntry,
    Manifest,
    ShardEntry,
    fingerprint,
    version_name,
)
from pipeline.corpora.vocab import Vocab
from pipeline.errors import DamagedError, InputError
from pipeline.hints import command

# Names of a version's files, and of the one beside the versions.
MANIFEST = "manifest.json"
LATEST = "LATEST"
DOCUMENTS = "documents.arrow"
SKIPPED = "skipped.jsonl"


@dataclass(frozen=True)
class Corpus:
    """An open corpus version; `url` is its folder."""

    url: str
    manifest: Manifest
    vocab: Vocab

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    def tokens_in(self, split: str) -> int:
        return self.manifest.splits[split].tokens

    def bytes_in(self, split: str) -> int:
        """UTF-8 bytes (or raw bytes) that the split's tokens stand for."""
        return self.manifest.splits[split].bytes

    def open_split(self, split: str, *, verify: bool = False) -> shards.Tokens:
        """The tokens of a split, memory-mapped.

        A shard of the wrong size or type is refused by name; with `verify`, so is one of the wrong
        digest, for which every byte is read.
        """
        entries = self.manifest.splits[split].shards
        return shards.Tokens(self._open_shard(entry, verify) for entry in entries)

    def local(self, entry: FileEntry, *, verify: bool = False) -> str:
        """A local path of one of the version's files; its size is always checked."""
        url = storage.join(self.url, entry.file)
        path = local_copy(url, entry)
        if verify and storage.sha256(path) != entry.sha256:
            raise DamagedError(_wrong_digest(url))
        return path

    def documents(self) -> pa.Table:
        """The table of documents.arrow."""
        # Read whole: its buffers are compressed, so that mapping it would gain nothing.
        url = storage.join(self.url, DOCUMENTS)
        try:
            return pa.ipc.open_file(pa.BufferReader(storage.read_bytes(url))).read_all()
        except FileNotFoundError:
            raise DamagedError(f"{url} is missing; build the corpus again with --force.") from None
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0]
            raise DamagedError(
                f"{url} is not a table of documents ({reason}); "
                "build the corpus again with --force."
            ) from None

    def _open_shard(self, entry: ShardEntry, verify: bool) -> np.ndarray:
        tokens = shards.open_shard(self.local(entry, verify=verify))
        if len(tokens) != entry.tokens or tokens.dtype != self.vocab.dtype:
            raise DamagedError(
                f"shard {storage.join(self.url, entry.file)} holds {len(tokens)} {tokens.dtype} "
                f"tokens, not {entry.tokens} {self.vocab.dtype}."
            )
        return tokens


def corpus_url(root: str, name: str) -> str:
    """The folder of a corpus's versions."""
    return storage.join(root, "corpora", name)


def split_reference(reference: str) -> tuple[str, str]:
    """'name' or 'name@version' as (name, version); the version is '' for the latest."""
    name, _, version = reference.partition("@")
    return name, version


def latest(root: str, name: str) -> str | None:
    """The newest published version, or None."""
    url = storage.join(corpus_url(root, name), LATEST)
    if not storage.exists(url):
        return None
    found = storage.read_bytes(url).decode("utf-8", "replace").strip()
    # It becomes a part of URLs: what is no name must not lead elsewhere.
    if not NAME_PATTERN.fullmatch(found):
        raise DamagedError(
            f"{url} names no version but {found[:40]!r}; "
            "build the corpus again with --force, which writes it anew."
        )
    return found


def corpus_names(root: str) -> list[str]:
    """Names of the corpora that have a published version."""
    folder = storage.join(root, "corpora")
    return [
        name for name in storage.names(folder) if storage.exists(storage.join(folder, name, LATEST))
    ]


def open_corpus(root: str, reference: str) -> Corpus:
    """Open NAME or NAME@VERSION under a root.

    What does not exist, or has another format, is an InputError by name.
    """
    name, version = split_reference(reference)
    # Asked for NAME@VERSION as well: for a name that nobody has built, the error lists those known.
    newest = latest(root, name)
    if not newest:
        known = ", ".join(corpus_names(root)) or "none"
        raise InputError(
            f"no corpus {name!r} under {root} (there are: {known}); "
            f"build it: {command('build-corpus')} --recipe {name}"
        )
    return open_version(storage.join(corpus_url(root, name), version or newest))


def open_version(url: str) -> Corpus:
    """Open the corpus version in a folder; its format and fingerprint are always checked."""
    manifest_url = storage.join(url, MANIFEST)
    try:
        value = storage.read_json(manifest_url)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"no corpus version at {url}; `{command('build-corpus')} --list` shows what is there."
        ) from None
    # The format first: what another one means by a field is not known here.
    if not isinstance(value, dict) or value.get("format") not in READABLE:
        raise InputError(
            f"{manifest_url} is not a manifest of format {READABLE[0]} to {READABLE[-1]}; "
            "build the corpus again with this version."
        )
    if not _is_intact(value):
        raise DamagedError(
            f"{manifest_url} does not have the fingerprint it names; "
            "build the corpus again with --force."
        )
    vocab = Vocab.from_json(value["vocab"])
    try:
        # The fingerprint does not cover all of a manifest: shards are checked by their own digests.
        manifest = Manifest.from_json(value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{manifest_url} is not a whole manifest ({type(error).__name__}: {error}); "
            "build the corpus again with --force."
        ) from None
    return Corpus(url, manifest, vocab)


def publish(url: str, manifest: Manifest) -> None:
    """Make a version visible: its manifest, then the name's LATEST.

    Every file that the manifest lists must be there already: whoever sees LATEST reads them.
    """
    storage.write_json(storage.join(url, MANIFEST), manifest.to_json())
    # A version that is published again gets a new date, too, which retention goes by.
    folder, version = url.rsplit("/", 1)
    storage.write_bytes(storage.join(folder, LATEST), f"{version}\n".encode())


def local_copy(url: str, entry: FileEntry) -> str:
    """A local path of a file: itself, or a checked copy in the node's cache.

    Sizes are always checked. Digests cost reading every byte, which happens once for a copy.
    """
    if not storage.is_local(url):
        return _cached(url, entry)
    path = storage.filesystem(url)[1]
    if not os.path.exists(path):
        raise DamagedError(_missing(url))
    size = os.path.getsize(path)
    if size != entry.bytes:
        raise DamagedError(
            f"shard {url} has {size} bytes, its manifest says {entry.bytes}; "
            "build the corpus again with --force."
        )
    return path


def _is_intact(value: dict[str, Any]) -> bool:
    """Whether a manifest has the fingerprint that it names, and the version is named after it."""
    try:
        mark = fingerprint(value)
        return bool(mark == value["fingerprint"] and version_name(mark) == value["version"])
    except KeyError:
        return False


def _cached(url: str, entry: FileEntry) -> str:
    """Fetch a remote file once per node; named by digest, so that a copy cannot be stale."""
    folder = _cache_folder()
    path = os.path.join(folder, "shards", f"{entry.sha256}.arrow")
    if os.path.exists(path) and os.path.getsize(path) == entry.bytes:
        return path
    try:
        data = storage.read_bytes(url)
    except FileNotFoundError:
        raise DamagedError(_missing(url)) from None
    if storage.sha256_bytes(data) != entry.sha256:
        raise DamagedError(_wrong_digest(url))
    _sweep(os.path.dirname(path))
    # Whole or not at all: several workers of a node may fetch the same file at once.
    storage.write_bytes(path, data)
    return path


@cache
def _sweep(folder: str) -> None:
    """Remove what killed workers were writing, once a process: it takes a listing."""
    leases.sweep_temporary(folder)


def _cache_folder() -> str:
    """The node's cache: $UNREASONABLE_CACHE, or a folder of the user's in the temporary one."""
    own = os.path.join(tempfile.gettempdir(), f"unreasonable-{os.getuid()}")
    folder = os.environ.get("UNREASONABLE_CACHE") or own
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make cache folder {folder}: {error}; set UNREASONABLE_CACHE to another one."
        ) from None
    # In a shared temporary directory somebody else may have made it first, to plant shards in it.
    if os.stat(folder).st_uid != os.getuid():
        raise InputError(f"cache folder {folder} belongs to another user; set UNREASONABLE_CACHE.")
    return folder


def _missing(url: str) -> str:
    return f"shard {url} is missing; build the corpus again with --force."


def _wrong_digest(url: str) -> str:
    return (
        f"shard {url} does not have the digest in its manifest; "
        "build the corpus again with --force."
    )
