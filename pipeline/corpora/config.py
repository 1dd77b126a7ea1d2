"""What a corpus is made from and how: the `corpus` section of a recipe."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from pipeline import settings
from pipeline.errors import InputError

# A name is a folder under the root and a part of URLs. It cannot begin with a dot: ".staging" is
# the builds' own, and ".." would lead out of the root.
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

# The least that an option may be. Cuts are looked for in half a chunk (cutting.py), so a chunk
# needs room for one; shards of less than a kibibyte would be mostly Arrow's own header.
_LEAST = {
    "min_count": 1,
    "chunk_bytes": 1 << 10,
    "shard_bytes": 1 << 10,
    "expect_bytes": 0,
    "max_document_bytes": 1,
    "max_expansion": 1,
    "streams": 1,
    "stream_seq_len": 1,
}

# Settings that say where text comes from, or check it, and so leave a version's bytes alone. The
# document digests stand for what was read, and the vocabulary itself for where it was taken from.
_NOT_SHAPING = {
    "source",
    "include",
    "exclude",
    "strip_prefix",
    "expect_bytes",
    "expect_md5",
    "url",
    "licence",
    "vocab_from",
    "max_document_bytes",
    "max_expansion",
    "max_skipped_fraction",
}

# Bounds that decide whether a corpus is built, and never what it holds. While they are the default
# they are in no digest, so that the records of corpora from before there were any hold.
_BOUNDS = ("max_document_bytes", "max_expansion", "max_skipped_fraction")

# Settings of the interleaved split alone. Elsewhere they decide nothing, and are in no digest: so
# the versions and records of corpora that were built before there were any hold.
_OF_STREAMS = {"streams", "stream_seq_len"}

# A fraction of the text or of the documents, a number of tokens, or what the others leave over.
Share = int | float | Literal["rest"]


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """One corpus: sources, how text is read from them, and how it is split."""

    GROUPS: ClassVar[dict[str, str]] = {
        "name": "sources",
        "unit": "text",
        "min_count": "vocabulary",
        "order": "splits",
        "chunk_bytes": "files",
        "url": "where the text is from",
    }
    """the groups of --help: the first setting of each, and its title"""

    name: str
    """name of the corpus: its folder under <root>/corpora"""
    source: str | list[str] = field(metadata={"metavar": "URL|[URL, URL]"})
    """fsspec URLs: folders, globs, files, archives or compressed files; 'pystdlib:' is this
    interpreter's own library"""
    include: list[str] = field(default_factory=lambda: ["*"])
    """shell patterns of relative paths or file names to take"""
    exclude: list[str] = field(default_factory=list)
    """shell patterns of relative paths or file names to leave out"""
    strip_prefix: str = ""
    """leading folders to drop from relative paths, a shell pattern ('linux-*/'): makes a tree and
    its archive the same"""
    expect_bytes: int = 0
    """refuse a source that is not one document of this size, as decompressed; 0: any size"""
    expect_md5: str = ""
    """refuse a source that is not one document of this MD5, as decompressed; empty: any"""
    max_document_bytes: int = 16 << 30
    """refuse a document of more source bytes, as decompressed"""
    max_expansion: int = 200
    """refuse an archive or compressed file that unpacks to more than this many times its size"""
    max_skipped_fraction: float = 0.01
    """refuse sources of which a larger part, of documents or bytes, is left out as unreadable"""
    unit: Literal["byte", "char"] = "byte"
    """what a token stands for: a byte, or a Unicode code point of UTF-8 text; a leading byte-order
    mark is left out"""
    decoding: Literal["strict", "replace", "skip"] = "strict"
    """invalid UTF-8 where text is decoded (char unit or nfc): refuse the build, put U+FFFD, or
    leave the document out"""
    newlines: Literal["keep", "lf"] = "keep"
    """lf: CRLF and lone CR become LF"""
    nfc: bool = False
    """normalise text to Unicode NFC"""
    separator: str = ""
    """text put after every document; escapes as in JSON (\\n)"""
    min_count: int = 1
    """symbols that occur less often become one unknown token"""
    vocab_from: str = ""
    """freeze the vocabulary of a corpus (NAME or NAME@VERSION), or of a model (NAME where no corpus
    is called so, models:/NAME)"""
    order: Literal["auto", "hash", "path"] = "auto"
    """document order: by hash of (seed, path), or by path; auto: hash for several documents"""
    split: Literal["auto", "block", "document", "tail", "interleaved"] = "auto"
    """blocks of 2 KiB or whole documents by hash of (seed, path, block), the end of the text, or,
    as char-rnn did, the end of each of its streams;
    auto: tail for one document, block for fewer than 1,000, else documents in blocks of 1 MiB"""
    train: Share = field(default="rest", metadata={"metavar": "X|N|rest"})
    """train split: a fraction, a number of tokens (tail only), or rest"""
    val: Share = field(default=0.05, metadata={"metavar": "X|N|rest"})
    """validation split: a fraction, a number of tokens (tail only), or rest"""
    test: Share = field(default=0.05, metadata={"metavar": "X|N|rest"})
    """test split: a fraction, a number of tokens (tail only), or rest"""
    streams: int = 50
    """interleaved only: streams that the text is cut into (char-rnn's batch_size)"""
    stream_seq_len: int = 50
    """interleaved only: streams are divided at multiples of this (char-rnn's seq_length)"""
    seed: int = 0
    """seed of document order and document split"""
    chunk_bytes: int = 16 << 20
    """large documents are cut near multiples of this many bytes and read in parallel"""
    shard_bytes: int = 64 << 20
    """size of a full shard file's tokens"""
    url: str = ""
    """where the text is published"""
    licence: str = ""
    """the text's licence"""

    def __post_init__(self) -> None:
        settings.check(self)
        if not NAME_PATTERN.fullmatch(self.name):
            raise InputError(
                f"corpus name {self.name!r} needs letters, digits, '_', '-' or '.', "
                "100 at most; change --name."
            )
        if not self.sources:
            raise InputError(f"corpus {self.name} has no source; give --source URL.")
        if not self.include:
            raise InputError("include is empty; use ['*'] to take every file.")
        for option, least in _LEAST.items():
            value = getattr(self, option)
            if value < least:
                raise InputError(f"{option} is {value}; it must be at least {least}.")
        if not 0 <= self.max_skipped_fraction <= 1:
            raise InputError(
                f"max_skipped_fraction is {self.max_skipped_fraction}; it must be from 0 to 1."
            )
        expects = bool(self.expect_bytes or self.expect_md5)
        if expects and len(self.sources) != 1:
            raise InputError("expect_bytes and expect_md5 need exactly one source.")
        self._check_shares()
        self.separator_text  # noqa: B018  # raises for bad escapes

    def _check_shares(self) -> None:
        shares = self.shares
        if list(shares.values()).count("rest") != 1:
            raise InputError(f"exactly one of train, val and test must be 'rest'; found {shares}.")
        for name, share in shares.items():
            if share != "rest":
                self._check_share(name, share)
        fractions = [share for share in shares.values() if isinstance(share, float)]
        if sum(fractions) >= 1:
            raise InputError(
                f"the fractions of train, val and test must sum to less than 1; found {shares}."
            )

    def _check_share(self, name: str, share: int | float) -> None:
        """Raise InputError unless the share is a fraction, or a count where counts are allowed."""
        no_fraction = isinstance(share, float) and share >= 1
        if share < 0 or no_fraction:
            raise InputError(
                f"{name} is {share}; use a fraction in [0, 1), a number of tokens, or 'rest'."
            )
        # `auto` may still become `block`. Only the layout knows, which counts the documents.
        takes_fractions = self.split in ("block", "document", "interleaved")
        if takes_fractions and isinstance(share, int) and share > 0:
            raise InputError(
                f"{name} is {share} tokens, but split {self.split!r} takes fractions; "
                "use --split tail."
            )

    @property
    def sources(self) -> list[str]:
        """The source URLs: one is as good as a list of one."""
        if isinstance(self.source, str):
            return [self.source] if self.source else []
        return list(self.source)

    @property
    def decodes(self) -> bool:
        """Whether text is decoded at all: bytes that need no Unicode are never looked into."""
        return self.unit == "char" or self.nfc

    @property
    def separator_text(self) -> bytes:
        """The separator as UTF-8, its JSON escapes resolved."""
        # A recipe may hold these three as themselves, where JSON text wants them escaped.
        escaped = self.separator.replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        try:
            return json.loads(f'"{escaped}"').encode()
        except (json.JSONDecodeError, UnicodeEncodeError):
            raise InputError(
                f"separator {self.separator!r} is not text with JSON escapes such as \\n."
            ) from None

    def shaping(self) -> dict[str, Any]:
        """The fields that change a corpus's bytes: they are in the manifest and its fingerprint."""
        return {key: value for key, value in self.effective().items() if key not in _NOT_SHAPING}

    @property
    def shares(self) -> dict[str, Share]:
        """What each split is to hold, in the order of the splits."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def effective(self) -> dict[str, Any]:
        """All fields but those that this split makes no use of, and bounds that nobody changed."""
        unused = set() if self.split == "interleaved" else set(_OF_STREAMS)
        unused |= {name for name in _BOUNDS if getattr(self, name) == getattr(type(self), name)}
        return {key: value for key, value in asdict(self).items() if key not in unused}
