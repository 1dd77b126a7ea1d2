"""Archives and compressed files, read as streams: once and in their own order.

No member is ever extracted under its name.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any

import fsspec

from pipeline import storage
from pipeline.corpora.bounds import Meter
from pipeline.corpora.cutting import Readable
from pipeline.corpora.decompression import decompressed
from pipeline.corpora.members import (
    HardLink,
    HardLinks,
    Names,
    is_encrypted,
    is_zip_folder,
    is_zip_link,
    plain_name,
    zip_path,
)
from pipeline.corpora.selection import Selection
from pipeline.corpora.sources import Skip, SourceFile, kind_of
from pipeline.errors import InputError

_COPY_BYTES = 8 << 20
_TAR_BUFFER = 1 << 20

# What ends a tar archive for tarfile, where it should be an error: see _StrictTarInfo.
_DAMAGED_HEADERS = (
    tarfile.InvalidHeaderError,  # type: ignore[attr-defined]
    tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]
    tarfile.EmptyHeaderError,  # type: ignore[attr-defined]
)

# Hears how many more bytes of a source file have been consumed.
Tick = Callable[[int], None]


def open_stream(
    source: SourceFile, selection: Selection, tick: Tick = lambda _: None
) -> Iterator[tuple[str, Guarded | Skip]]:
    """Yield (relative path, readable stream or Skip) for every wanted document of a stream source.

    Members come in archive order, hard links last, and each must be read before the next is asked
    for. A path that comes twice counts the last time. `tick` hears of the bytes of the file itself
    as they are consumed. Raises InputError, naming the file, for one that is damaged, cut short or
    unreadable.
    """
    _, archive = kind_of(storage.bare(source.url))
    url = source.url
    with reading(url):
        if archive == "zip":
            # A zip's directory stands at its end: it cannot be read from front to back.
            with _seekable(url) as file:
                meter = Meter(selection.config, url, file.seek(0, io.SEEK_END))
                yield from _zip_members(file, selection, meter, tick)
            return
        meter = Meter(selection.config, url)
        if archive is None:
            with _unpacked(meter, tick) as file:
                yield source.path, Guarded(file, url, meter.document(source.path))
            return
        links = HardLinks()
        with _unpacked(meter, tick) as file:
            yield from _tar_members(file, selection, meter, links)
        if links:
            with _unpacked(meter, lambda _: None) as file:
                yield from _tar_links(file, links, meter)


@contextlib.contextmanager
def _unpacked(meter: Meter, tick: Tick) -> Iterator[Any]:
    """A file from its beginning, decompressed where its ending says so."""
    compression, _ = kind_of(storage.bare(meter.url))

    def consume(size: int) -> None:
        meter.consume(size)
        tick(size)

    with (
        fsspec.open(meter.url, "rb") as raw,
        decompressed(_Counted(raw, consume), compression) as file,
    ):
        yield _Counted(file, meter.unpack)


@contextlib.contextmanager
def reading(url: str) -> Iterator[None]:
    """Turn whatever a store or decoder raises while a source is read into an InputError.

    It names the source.
    """
    try:
        yield
    except (InputError, GeneratorExit):
        raise  # said already; or the reader, not the source, has had enough
    except FileNotFoundError:
        raise InputError(
            f"source {url} is not there any more; build again when it is at rest."
        ) from None
    except Exception as error:  # every store and every decoder has exceptions of its own
        reason = " ".join(str(error).split()) or "it ends early"
        raise InputError(
            f"cannot read source {url}: {type(error).__name__}: {reason}. "
            "Check that it is whole, or fetch it again."
        ) from None


class Guarded:
    """A stream whose read errors are InputErrors that name the source.

    Its reader works outside of open_stream's own guard: an error there never passes through it.
    """

    def __init__(
        self, stream: Readable, url: str, hear: Callable[[int], None] = lambda size: None
    ) -> None:
        self.stream = stream
        self.url = url
        self.hear = hear

    def read(self, size: int = -1) -> bytes:
        with reading(self.url):
            data = self.stream.read(size)
            self.hear(len(data))
            return data


class _Counted:
    """A file that tells `tick` how many of its bytes are read."""

    def __init__(self, file: Readable, tick: Tick) -> None:
        self.file = file
        self.tick = tick
        self.closed = False  # pyarrow.PythonFile asks

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.tick(len(data))
        return data

    def close(self) -> None:
        self.closed = True


@contextlib.contextmanager
def _seekable(url: str) -> Iterator[IO[bytes]]:
    """A file that can be read in any order: a local one itself, of any other a temporary copy."""
    with fsspec.open(url, "rb") as file:
        if storage.is_local(url):
            yield file
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(file, copy, _COPY_BYTES)
            copy.seek(0)
            yield copy


class _StrictTarInfo(tarfile.TarInfo):
    """Headers of a tar archive, read strictly.

    tarfile takes a damaged header, or a missing end mark, for the end of the archive. The rest of
    the text would be lost without a word; here they are errors.
    """

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _StrictTarInfo:
        try:
            return super().fromtarfile(tar)
        except _DAMAGED_HEADERS as error:
            raise tarfile.ReadError(
                f"damaged or cut short behind byte {tar.offset} ({error})"
            ) from None


def _opened_tar(file: IO[bytes]) -> tarfile.TarFile:
    # "r|" reads from front to back, and never seeks.
    return tarfile.open(fileobj=file, mode="r|", bufsize=_TAR_BUFFER, tarinfo=_StrictTarInfo)


def _tar_members(
    file: IO[bytes], selection: Selection, meter: Meter, links: HardLinks
) -> Iterator[tuple[str, Guarded | Skip]]:
    """The wanted members but for the hard links, which `links` takes in."""
    names = Names(selection, meter.url)
    with _opened_tar(file) as tar:
        for number, member in enumerate(tar):
            if member.isdir():
                continue
            wanted = names.name(member.name)
            # tarfile keeps every header otherwise: memory would grow with the archive.
            tar.members = []  # type: ignore[attr-defined]
            if member.islnk():
                links.add_link(member.name, member.linkname, wanted, number)
                continue
            links.add_other(member.name, wanted)
            if wanted is not None:
                yield wanted, _tar_document(tar, member, wanted, meter)
        _check_end(tar)


def _tar_document(
    tar: tarfile.TarFile, member: tarfile.TarInfo, wanted: str, meter: Meter
) -> Guarded | Skip:
    if member.issym():
        return Skip(wanted, "link")
    stream = tar.extractfile(member)
    if stream is None:
        return Skip(wanted, "not a regular file")
    return Guarded(stream, meter.url, meter.document(wanted))


def _tar_links(
    file: IO[bytes], links: HardLinks, meter: Meter
) -> Iterator[tuple[str, Guarded | Skip]]:
    """The documents of hard links, from a second look at the archive.

    A stream does not go back, and the first look does not know which file will have another name.
    """
    by_target: dict[str, list[HardLink]] = {}
    for link in links:
        by_target.setdefault(link.target, []).append(link)
    missing = {link.document for link in links}
    with _opened_tar(file) as tar:
        for number, member in enumerate(tar):
            tar.members = []  # type: ignore[attr-defined]
            # Of a file that comes again, a link has the last content in front of it.
            these = [
                link
                for link in by_target.get(plain_name(member.name), [])
                if number < link.number and not member.islnk()
            ]
            if these:
                missing -= {link.document for link in these}
                content = _tar_document(tar, member, these[0].document, meter)
                yield from _copies(content, these, meter)
    for document in sorted(missing):
        yield document, Skip(document, "link")


def _copies(
    content: Guarded | Skip, links: list[HardLink], meter: Meter
) -> Iterator[tuple[str, Guarded | Skip]]:
    """One member under the name of each link to it."""
    if isinstance(content, Skip):
        for link in links:
            yield link.document, Skip(link.document, content.reason)
        return
    with tempfile.SpooledTemporaryFile(_COPY_BYTES) as copy:
        while piece := content.read(_COPY_BYTES):
            copy.write(piece)
        for link in links:
            copy.seek(0)
            yield link.document, Guarded(copy, meter.url, meter.document(link.document))


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise unless there is nothing but zeros behind the block that tarfile took for the end.

    It stops at the first empty block: a header that was overwritten by zeros, or the end mark of
    the first of two archives that stand in one file.
    """
    stream: Any = tar.fileobj
    place = stream.tell()
    while block := stream.read(_TAR_BUFFER):
        zeros = len(block) - len(block.lstrip(b"\0"))
        if zeros < len(block):
            raise tarfile.ReadError(
                f"there is more behind its end mark, at byte {place + zeros}: a header is damaged, "
                "or another archive follows; take them apart"
            )
        place += len(block)


def _zip_members(
    file: IO[bytes], selection: Selection, meter: Meter, tick: Tick
) -> Iterator[tuple[str, Guarded | Skip]]:
    names = Names(selection, meter.url)
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            wanted = _zip_document(member, names)
            if wanted is None:
                tick(member.compress_size)
                continue
            skip = _zip_skip(member, wanted)
            if skip:
                yield wanted, skip
                continue
            with archive.open(member) as stream:
                yield wanted, Guarded(stream, meter.url, meter.document(wanted))
            tick(member.compress_size)


def zip_directory(
    source: SourceFile, selection: Selection
) -> Iterator[tuple[str, zipfile.ZipInfo | Skip]]:
    """The wanted documents of a zip archive by its directory alone: nothing is unpacked.

    Of a remote archive only the end is fetched, where the server can give a part of a file.
    """
    names = Names(selection, source.url)
    with (
        reading(source.url),
        fsspec.open(source.url, "rb") as file,
        zipfile.ZipFile(file) as archive,
    ):
        for member in archive.infolist():
            wanted = _zip_document(member, names)
            if wanted is not None:
                yield wanted, _zip_skip(member, wanted) or member


def _zip_document(member: zipfile.ZipInfo, names: Names) -> str | None:
    if is_zip_folder(member):
        return None
    return names.name(member.filename, zip_path(member))


def _zip_skip(member: zipfile.ZipInfo, wanted: str) -> Skip | None:
    """Why a member is left out; None for one that is read."""
    if is_encrypted(member):
        return Skip(wanted, "encrypted", member.file_size)
    return Skip(wanted, "link") if is_zip_link(member) else None
