"""What sources hold, found out without a build: listed, and their text looked at up to a budget.

    list -> look at the first text -> SourceFound (for people), TextLook (what splits are made from)

Nothing is written and nothing is extracted. A small corpus is looked at whole, and then its figures
are those that the build will have; of a large one they are extrapolated, and say so.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.cutting import stream_chunks
from pipeline.corpora.look import TextLook
from pipeline.corpora.selection import Selection
from pipeline.corpora.sources import Listing, Skip, SourceFile, kind_of, list_source
from pipeline.corpora.streams import Guarded, open_stream, reading, zip_directory
from pipeline.errors import InputError

# Of an archive or a compressed file as it lies there: xz gives about five times as much text.
LOOK_PACKED_BYTES = 8 << 20
_LOOK_CHUNK = 1 << 20
_NAMES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class SourceFound:
    """What one source holds.

    `documents` and `bytes` are as unpacked. `packed_bytes` are what is fetched and read, of
    archives and compressed files. `whole`: everything was listed; else both are extrapolated from
    the first LOOK_PACKED_BYTES. `excluded` are left out by the recipe's patterns, `skipped` are
    links and the like.
    """

    source: str
    kind: str
    documents: int
    bytes: int
    packed_bytes: int
    excluded: int
    skipped: int
    whole: bool
    names: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "names": list(self.names)}


def survey(config: CorpusConfig) -> tuple[list[SourceFound], TextLook]:
    """Every source of a recipe, and a look at the text of all.

    Raises the InputErrors of a build for what cannot be listed, read or decoded. What all sources
    must be together (names, a document at all) is the caller's to check.
    """
    look = TextLook(config)
    found = [_found(source, config, look) for source in config.sources]
    return found, look


def _found(source: str, config: CorpusConfig, look: TextLook) -> SourceFound:
    listing = list_source(source, config)
    _look_at_files(listing.files, look)
    streams = [_look_at_stream(stream, config, look) for stream in listing.streams]
    names = [file.path for file in listing.files]
    names += [name for stream in streams for name in stream.names]
    return SourceFound(
        source=source,
        kind=_kind(listing),
        documents=len(listing.files) + sum(stream.documents for stream in streams),
        bytes=sum(file.size for file in listing.files) + sum(stream.bytes for stream in streams),
        packed_bytes=sum(stream.packed_bytes for stream in streams),
        excluded=_excluded(source, config, listing) + sum(stream.excluded for stream in streams),
        skipped=len(listing.skips) + sum(stream.skipped for stream in streams),
        whole=all(stream.whole for stream in streams),
        names=tuple(names[:_NAMES_SHOWN]),
    )


def _kind(listing: Listing) -> str:
    """What a source is, for people."""
    kinds = set()
    if listing.files:
        kinds.add("files")
    for stream in listing.streams:
        compression, archive = kind_of(storage.bare(stream.url))
        packed = f"{archive or 'file'}, {compression}" if compression else archive
        kinds.add(packed or "stream")
    return " and ".join(sorted(kinds)) or "nothing"


def _excluded(source: str, config: CorpusConfig, listing: Listing) -> int:
    """Files that the recipe's patterns leave out of a folder or a glob."""
    if config.include == ["*"] and not config.exclude:
        return 0
    # Listed once more: a listing does not hold what was not wanted.
    everything = list_source(source, dataclasses.replace(config, include=["*"], exclude=[]))
    there = len(everything.files) + len(everything.streams) + len(everything.skips)
    return there - len(listing.files) - len(listing.streams) - len(listing.skips)


def _look_at_files(files: list[SourceFile], look: TextLook) -> None:
    """Look at plain files: at all of them, or at some that are spread over the listing."""
    total = sum(file.size for file in files)
    stride = max(1, -(-total // look.budget))
    chosen = files[::stride]
    limit = look.budget if stride == 1 else max(_LOOK_CHUNK, look.budget // len(chosen))
    if stride > 1:
        look.whole = False
    for file in chosen:
        if look.spent:
            look.whole = False
            return
        with reading(file.url):
            opened = storage.open_read(file.url)
        with opened:
            chunks = stream_chunks(Guarded(opened, file.url), _LOOK_CHUNK)
            look.look(file.path, chunks, limit)


def _look_at_stream(source: SourceFile, config: CorpusConfig, look: TextLook) -> SourceFound:
    """An archive or a compressed file: its directory where it has one, else its beginning."""
    prefix = source.path if source.path.endswith("/") else ""
    selection = _Counting(config, prefix, source.within)
    _, archive = kind_of(storage.bare(source.url))
    stream = _Stream(source, selection)
    if archive == "zip":
        try:
            sizes, skipped = _zip_sizes(source, selection)
        except InputError:
            if storage.is_local(source.url):
                raise
            # A server that gives no parts of files: the build fetches the archive whole.
            look.whole = False
            return _stream_found(source, {source.path: source.size}, 0, 0, whole=False)
        excluded = selection.excluded
        # Remote members would be fetched whole to be looked at, so their text stays unseen.
        if storage.is_local(source.url):
            stream.read(look, LOOK_PACKED_BYTES)
        else:
            look.whole = False
        return _stream_found(source, sizes, skipped, excluded, whole=True)
    consumed = stream.read(look, LOOK_PACKED_BYTES)
    if stream.ended:
        return _stream_found(source, stream.sizes, stream.skipped, selection.excluded, whole=True)
    look.whole = False
    # An unknown size (a server that does not say) leaves what was seen as a lower bound.
    scale = max(1.0, source.size / max(1, consumed))
    sizes = {name: round(size * scale) for name, size in stream.sizes.items()}
    found = _stream_found(source, sizes, stream.skipped, selection.excluded, whole=False)
    is_one_document = archive is None
    if is_one_document:
        return found
    return dataclasses.replace(
        found,
        documents=round(found.documents * scale),
        excluded=round(found.excluded * scale),
        skipped=round(found.skipped * scale),
    )


class _Counting(Selection):
    """A selection that counts what it leaves out."""

    def __init__(self, config: CorpusConfig, prefix: str, within: str) -> None:
        super().__init__(config, prefix, within)
        self.excluded = 0

    def name(self, path: str) -> str | None:
        wanted = super().name(path)
        self.excluded += wanted is None
        return wanted


class _Stream:
    """Reads a stream from its beginning: sizes of its documents, and their text for the look."""

    def __init__(self, source: SourceFile, selection: Selection) -> None:
        self.source = source
        self.selection = selection
        self.sizes: dict[str, int] = {}
        self.skipped = 0
        self.ended = False

    def read(self, look: TextLook, limit: int) -> int:
        """Read until `limit` packed bytes are consumed, or the end; returns the bytes consumed."""
        consumed = 0

        def tick(read: int) -> None:
            nonlocal consumed
            consumed += read

        for path, stream in open_stream(self.source, self.selection, tick):
            if isinstance(stream, Skip):
                self.skipped += 1
                continue
            counted = _Sized(stream)
            if look.spent:
                look.whole = False
            else:
                look.look(path, stream_chunks(counted, _LOOK_CHUNK), look.budget)
            # What is behind the text that was looked at is read for its size alone.
            while not self._is_enough(consumed, limit) and counted.read(_LOOK_CHUNK):
                pass
            self.sizes[path] = counted.size
            if self._is_enough(consumed, limit):
                look.whole = False
                return consumed
        self.ended = True
        return consumed

    def _is_enough(self, consumed: int, limit: int) -> bool:
        """Whether to stop here: never where all of the file is in the decompressor's hands."""
        return consumed >= limit and consumed != self.source.size


class _Sized:
    """A stream that counts what is read of it."""

    def __init__(self, stream: Guarded) -> None:
        self.stream = stream
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self.stream.read(size)
        self.size += len(data)
        return data


def _zip_sizes(source: SourceFile, selection: Selection) -> tuple[dict[str, int], int]:
    """Sizes of a zip's documents as unpacked, by name, and how many are left out."""
    sizes: dict[str, int] = {}
    skipped = 0
    for path, member in zip_directory(source, selection):
        if isinstance(member, Skip):
            skipped += 1
        else:
            sizes[path] = member.file_size
    return sizes, skipped


def _stream_found(
    source: SourceFile, sizes: dict[str, int], skipped: int, excluded: int, *, whole: bool
) -> SourceFound:
    return SourceFound(
        source=source.url,
        kind="",
        documents=len(sizes),
        bytes=sum(sizes.values()),
        packed_bytes=source.size,
        excluded=excluded,
        skipped=skipped,
        whole=whole,
        names=tuple(list(sizes)[:_NAMES_SHOWN]),
    )
