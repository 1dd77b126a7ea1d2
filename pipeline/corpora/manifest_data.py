"""What a manifest says: the dataclasses of manifest.json, and the fingerprint of a version.

Pure: manifest.py knows where manifests lie, and reads and publishes them. The format is in
docs/formats.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline import storage
from pipeline.corpora.interleaved import Streams
from pipeline.corpora.splits import SPLITS, Division, SplitRule
from pipeline.corpora.suspects import Suspects
from pipeline.corpora.vocab import Vocab

FORMAT = 3
# Of the interleaved split alone. Code that reads up to format 3 would take it for a split by hash,
# and compare models that have learnt each other's val text. Other versions keep their fingerprints.
FORMAT_OF_STREAMS = 4
READABLE = (2, 3, 4)  # format 2 has no block_bytes and no suspects: it split documents whole
VERSION_DIGITS = 12  # of the fingerprint, in a version's name: 48 bits are enough for one corpus

# The fields that a fingerprint is made of. Whatever decides a version's bytes is in one of them:
# documents and skips by their digests, so that a reader checks all of it with the manifest alone.
_IDENTITY = ("format", "corpus", "vocab", "unicode", "documents_sha256", "skipped_sha256")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Everything that decides the bytes of a version.

    `corpus` is CorpusConfig.shaping(), `vocab` Vocab.to_json(), `unicode` the version of the
    Unicode data that normalised the text.
    """

    format: int
    corpus: dict[str, Any]
    vocab: dict[str, Any]
    unicode: str
    documents_sha256: str
    skipped_sha256: str

    def to_json(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in _IDENTITY}


@dataclass(frozen=True)
class TextBytes:
    """Where the bytes went: source = skipped + normalised_away + text; separators are added."""

    source: int
    skipped: int
    normalised_away: int
    text: int
    separators: int

    def to_json(self) -> dict[str, int]:
        return dict(vars(self))

    @classmethod
    def from_json(cls, value: Any) -> TextBytes:
        return cls(
            source=_number(value["source"]),
            skipped=_number(value["skipped"]),
            normalised_away=_number(value["normalised_away"]),
            text=_number(value["text"]),
            separators=_number(value["separators"]),
        )


@dataclass(frozen=True)
class FileEntry:
    """A file of a version: its name in the version's folder, its size, its SHA-256 (hex)."""

    file: str
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "bytes": self.bytes, "sha256": self.sha256}

    @classmethod
    def from_json(cls, value: Any) -> FileEntry:
        return cls(_text(value["file"]), _number(value["bytes"]), _text(value["sha256"]))


@dataclass(frozen=True)
class ShardEntry(FileEntry):
    """A shard file: its tokens, and the bytes of text that they stand for.

    `unknown` is the file beside it that says what its unknown tokens stand for; None where the
    shard has no unknown token.
    """

    tokens: int
    text_bytes: int
    unknown: FileEntry | None = None

    def to_json(self) -> dict[str, Any]:
        value = super().to_json() | {"tokens": self.tokens, "text_bytes": self.text_bytes}
        # Left out rather than null: the format has the field only where there is a file.
        if self.unknown is not None:
            value["unknown"] = self.unknown.to_json()
        return value

    @classmethod
    def from_json(cls, value: Any) -> ShardEntry:
        file = FileEntry.from_json(value)
        unknown = FileEntry.from_json(value["unknown"]) if "unknown" in value else None
        return cls(
            file=file.file,
            bytes=file.bytes,
            sha256=file.sha256,
            tokens=_number(value["tokens"]),
            text_bytes=_number(value["text_bytes"]),
            unknown=unknown,
        )


@dataclass(frozen=True)
class SplitEntry:
    """A split: its tokens, the bytes of text that they stand for, and its shards in order."""

    tokens: int
    bytes: int
    shards: tuple[ShardEntry, ...]

    def to_json(self) -> dict[str, Any]:
        shards = [shard.to_json() for shard in self.shards]
        return {"tokens": self.tokens, "bytes": self.bytes, "shards": shards}

    @classmethod
    def from_json(cls, value: Any) -> SplitEntry:
        shards = tuple(ShardEntry.from_json(shard) for shard in value["shards"])
        return cls(_number(value["tokens"]), _number(value["bytes"]), shards)


@dataclass(frozen=True, kw_only=True)
class Manifest(Identity):
    """A version's manifest.json. Nothing in it depends on when, where or by how many it was built.

    `first_tokens` are (token, count) pairs: what documents start with.
    """

    name: str
    version: str
    fingerprint: str
    order: str
    split: str
    documents: int
    skipped: int
    bytes: TextBytes
    splits: dict[str, SplitEntry]
    files: dict[str, FileEntry]
    first_tokens: tuple[tuple[int, int], ...]
    block_bytes: int = 0
    suspects: Suspects = field(default_factory=Suspects)

    @property
    def rule(self) -> SplitRule:
        if self.split != "interleaved":
            return SplitRule(self.split, self.block_bytes)
        # Nothing is resolved from auto here: the settings say it.
        return SplitRule(
            self.split, self.block_bytes, self.corpus["streams"], self.corpus["stream_seq_len"]
        )

    @property
    def streams(self) -> Streams | None:
        """The streams that the train split is made of; None where it is not."""
        rule = self.rule
        if not rule.streams:
            return None
        total = sum(split.tokens for split in self.splits.values())
        shares = {name: self.corpus[name] for name in SPLITS}
        return Streams.of(total, shares, rule.streams, rule.stream_seq_len)

    @property
    def division(self) -> Division:
        """All that decides which split text goes to."""
        return Division.of(self.rule, self.corpus)

    def to_json(self) -> dict[str, Any]:
        """The value of manifest.json."""
        # Here the name is the key, where a shard has it as a field.
        files = {
            name: {"bytes": entry.bytes, "sha256": entry.sha256}
            for name, entry in self.files.items()
        }
        value = {
            **super().to_json(),
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "order": self.order,
            "split": self.split,
            "documents": self.documents,
            "skipped": self.skipped,
            "bytes": self.bytes.to_json(),
            "splits": {name: split.to_json() for name, split in self.splits.items()},
            "files": files,
            "first_tokens": [list(pair) for pair in self.first_tokens],
        }
        if self.format > 2:
            value["block_bytes"] = self.block_bytes
            value["suspects"] = self.suspects.to_json()
        return value

    @classmethod
    def from_json(cls, value: Any) -> Manifest:
        """The manifest of a parsed manifest.json.

        Raises KeyError or TypeError, with the missing field or the wrong value, for anything else.
        """
        splits = {name: SplitEntry.from_json(split) for name, split in value["splits"].items()}
        missing = [name for name in SPLITS if name not in splits]
        if missing:  # readers count on all three, empty ones too
            raise KeyError(missing[0])
        files = {
            name: FileEntry.from_json({**entry, "file": name})
            for name, entry in value["files"].items()
        }
        number = _number(value["format"])
        later: dict[str, Any] = {}
        if number > 2:
            later["block_bytes"] = _number(value["block_bytes"])
            later["suspects"] = Suspects.from_json(value["suspects"])
        return cls(
            format=number,
            corpus=_mapping(value["corpus"]),
            vocab=_mapping(value["vocab"]),
            unicode=_text(value["unicode"]),
            documents_sha256=_text(value["documents_sha256"]),
            skipped_sha256=_text(value["skipped_sha256"]),
            name=_text(value["name"]),
            version=_text(value["version"]),
            fingerprint=_text(value["fingerprint"]),
            order=_text(value["order"]),
            split=_text(value["split"]),
            documents=_number(value["documents"]),
            skipped=_number(value["skipped"]),
            bytes=TextBytes.from_json(value["bytes"]),
            splits=splits,
            files=files,
            first_tokens=tuple(_pair(pair) for pair in value["first_tokens"]),
            **later,
        )


def identity(
    shaping: dict[str, Any], vocab: Vocab, documents_sha256: str, skipped: bytes, unicode: str
) -> Identity:
    """The identity of what is about to be built; `skipped` are the bytes of skipped.jsonl."""
    return Identity(
        format=FORMAT_OF_STREAMS if shaping.get("split") == "interleaved" else FORMAT,
        corpus=shaping,
        vocab=vocab.to_json(),
        unicode=unicode,
        documents_sha256=documents_sha256,
        skipped_sha256=storage.sha256_bytes(skipped),
    )


def fingerprint(value: Mapping[str, Any]) -> str:
    """The content address (hex) of the JSON of an identity or a manifest.

    It is taken from the JSON as it was read, before anything interprets it. Raises KeyError when a
    field of the identity is missing.
    """
    fields = {field: value[field] for field in _IDENTITY}
    # Sorted keys: the order in which a program builds a dict must not count.
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def version_name(mark: str) -> str:
    """The name of the version with this fingerprint."""
    return mark[:VERSION_DIGITS]


def digest_of_documents(documents: Iterable[tuple[bytes, bytes]]) -> str:
    """SHA-256 (hex) over the (path, digest) pairs of all documents, sorted."""
    total = hashlib.sha256()
    for path, digest in sorted(documents):
        # The length keeps the end of a path apart from the beginning of its digest.
        total.update(len(path).to_bytes(4, "big") + path + digest)
    return total.hexdigest()


def _number(value: Any) -> int:
    # type(), not isinstance(): true is no number of tokens.
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return value


def _pair(value: Any) -> tuple[int, int]:
    token, count = value
    return _number(token), _number(count)
