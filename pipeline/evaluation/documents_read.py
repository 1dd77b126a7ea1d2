"""Documents to score: which there are, and their text, of a corpus's splits or of any URL.

A corpus has its own text, what its unknown tokens stand for put back. What lies at a URL is read by
the corpora's sources (folders, archives, compressed files) byte for byte, but for a byte-order mark
in front, and staged, so that every source is read once and from front to back.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.gather import gather
from pipeline.corpora.manifest import Corpus, open_version
from pipeline.corpora.sources import Listing, list_source
from pipeline.corpora.staging import ReadUnit, blob_url, plan_units, read_unit
from pipeline.corpora.text import source_offset, unpacked
from pipeline.corpora.trace import Tracer
from pipeline.errors import InputError
from pipeline.progress import Progress
from pipeline.tasks import Runner

_NAME = "documents"  # of a recipe for reading, which nothing is built from


@dataclass(frozen=True)
class Piece:
    """A stretch of a document: tokens of a split, or bytes of a staged unit (0 for a corpus).

    `source_offset` is where a staged stretch begins in its source; `anchors` are as staged.
    """

    place: int
    length: int
    unit: int = 0
    source_offset: int = 0
    anchors: bytes = b""


@dataclass(frozen=True)
class Document:
    """A document, or the part of it that lies in one split; `split` is empty for a URL's.

    `size` is in bytes: exact, but for characters of a corpus, whose bytes are known when they are
    read. `digest` (hex) stands for all that decides the text, and for where it is in its source.
    """

    path: bytes
    split: str
    size: int
    digest: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class CorpusTexts:
    """The text of documents of a corpus version at `url`, wherever it is read."""

    url: str

    def texts(self, document: Document) -> list[bytes]:
        """The text of each piece."""
        return [
            _split_text(_tracer(self.url), document.split, piece.place, piece.place + piece.length)
            for piece in document.pieces
        ]

    def offset(self, document: Document, piece: int, prefix: bytes) -> int:
        """The byte of the source at which a piece's text goes on behind `prefix`."""
        tracer = _tracer(self.url)
        symbols = len(prefix)
        if tracer.corpus.vocab.unit == "char":
            symbols = len(prefix.decode(errors="ignore"))
        place = document.pieces[piece].place + symbols
        return tracer.origin(document.split, place).offset or 0


@dataclass(frozen=True)
class StagedTexts:
    """The same of documents staged under a URL."""

    url: str

    def texts(self, document: Document) -> list[bytes]:
        """The text of the document, whole: its pieces were cut for reading alone."""
        ranges = [
            (blob_url(self.url, piece.unit), piece.place, piece.place + piece.length)
            for piece in document.pieces
        ]
        return [b"".join(storage.read_ranges(ranges))]

    def offset(self, document: Document, piece: int, prefix: bytes) -> int:
        """The byte of the source at which the text goes on behind `prefix`."""
        at = len(prefix)
        for own in document.pieces:
            if at < own.length or own is document.pieces[-1]:
                return own.source_offset + source_offset(unpacked(own.anchors), at)
            at -= own.length
        return 0


Texts = CorpusTexts | StagedTexts


def corpus_documents(corpus: Corpus, splits: Sequence[str]) -> list[Document]:
    """What a corpus's splits have of each document, by path and split.

    Under a split by blocks a document may have several pieces in one split.
    """
    columns = ["path", "split", "offset", "length"]
    found: dict[tuple[bytes, str], list[Piece]] = {}
    for row in corpus.documents().select(columns).to_pylist():
        if row["split"] in splits:
            own = found.setdefault((row["path"], row["split"]), [])
            own.append(Piece(row["offset"], row["length"]))
    widths = {
        split: corpus.bytes_in(split) / max(1, corpus.tokens_in(split)) for split in splits
    }  # bytes a token
    return [
        Document(
            path=path,
            split=split,
            size=round(sum(piece.length for piece in pieces) * widths[split]),
            digest=_digest(corpus, pieces),
            pieces=tuple(pieces),
        )
        for (path, split), pieces in sorted(found.items())
    ]


def staged_documents(urls: Sequence[str], staging: str, run: Runner) -> list[Document]:
    """Read everything at some URLs into `staging`; the documents, by path.

    InputError for a source that cannot be read, or that holds nothing.
    """
    config = CorpusConfig(name=_NAME, source=list(urls))
    listing = Listing()
    for url in config.sources:
        listing.add(list_source(url, config))
    if not listing.files and not listing.streams:
        raise InputError(f"there is no document at {', '.join(urls)}; give another URL.")
    units = plan_units(listing.files, listing.streams, config.chunk_bytes)
    progress = Progress("read documents", sum(unit.size for unit in units), "B")
    for index, _ in run(_read, [_Reading(unit, config, staging) for unit in units]):
        progress.add(units[index].size)
    progress.finish()
    documents, _ = gather(staging, units)
    return [
        Document(
            path=document.path,
            split="",
            size=document.text_bytes,
            digest=document.digest.hex(),
            pieces=tuple(
                Piece(chunk.offset, chunk.bytes, chunk.unit, chunk.source_offset, chunk.anchors)
                for chunk in document.chunks
            ),
        )
        for document in documents
    ]


@dataclass(frozen=True)
class _Reading:
    """A task: a unit to stage."""

    unit: ReadUnit
    config: CorpusConfig
    staging: str


def _read(task: _Reading) -> int:
    return read_unit(task.unit, task.config, task.staging).documents


def _digest(corpus: Corpus, pieces: list[Piece]) -> str:
    """The fingerprint decides every token of a corpus, so the places of some decide their text."""
    places = [(piece.place, piece.length) for piece in pieces]
    return storage.sha256_bytes(f"{corpus.fingerprint} {places}".encode())


@functools.lru_cache(maxsize=1)  # opening one reads the whole table of documents
def _tracer(url: str) -> Tracer:
    return Tracer(open_version(url))


def _split_text(tracer: Tracer, split: str, start: int, stop: int) -> bytes:
    """The text of tokens [start, stop) of a split."""
    vocab = tracer.corpus.vocab
    if vocab.has_unknown:
        return tracer.text(split, start, stop)
    # By a table: the tracer makes a Python object of every symbol.
    symbols = np.array(vocab.symbols, np.uint32)[tracer.tokens[split].read(start, stop)]
    if vocab.unit == "byte":
        return symbols.astype(np.uint8).tobytes()
    return symbols.astype("<u4").tobytes().decode("utf-32-le").encode()
