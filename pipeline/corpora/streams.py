"""Archives and compressed files, read as streams: once and in their own order.

No member is ever extracted under its name.
"""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any

import fsspec

from pipeline import storage
from pipeline.corpora.decompression import decompressed
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

    Members come in archive order, and each must be read before the next is asked for. A path that
    comes twice counts the last time. `tick` hears of the bytes of the file itself as they are
    consumed. Raises InputError, naming the file, for one that is damaged, cut short or unreadable.
    """
    compression, archive = kind_of(storage.bare(source.url))
    with reading(source.url):
        if archive == "zip":
            # A zip's directory stands at its end: it cannot be read from front to back.
            with _seekable(source.url) as file:
                yield from _zip_members(file, selection, source.url, tick)
            return
        with (
            fsspec.open(source.url, "rb") as raw,
            decompressed(_Counted(raw, tick), compression) as file,
        ):
            if archive == "tar":
                yield from _tar_members(file, selection, source.url)
            else:
                yield source.path, Guarded(file, source.url)


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

    def __init__(self, stream: IO[bytes], url: str) -> None:
        self.stream = stream
        self.url = url

    def read(self, size: int = -1) -> bytes:
        with reading(self.url):
            return self.stream.read(size)


class _Counted:
    """A raw file that tells `tick` how many of its bytes are read."""

    def __init__(self, file: IO[bytes], tick: Tick) -> None:
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


def _tar_members(
    file: IO[bytes], selection: Selection, url: str
) -> Iterator[tuple[str, Guarded | Skip]]:
    names = _Names(selection, url)
    # "r|" reads from front to back, and never seeks.
    with tarfile.open(fileobj=file, mode="r|", bufsize=_TAR_BUFFER, tarinfo=_StrictTarInfo) as tar:
        for member in tar:
            if member.isdir():
                continue
            wanted = names.name(member.name)
            # tarfile keeps every header otherwise: memory would grow with the archive.
            tar.members = []  # type: ignore[attr-defined]
            if wanted is None:
                continue
            if member.issym() or member.islnk():
                yield wanted, Skip(wanted, "link")
                continue
            stream = tar.extractfile(member)
            if stream is None:
                yield wanted, Skip(wanted, "not a regular file")
            else:
                yield wanted, Guarded(stream, url)
        _check_end(tar)


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
    file: IO[bytes], selection: Selection, url: str, tick: Tick
) -> Iterator[tuple[str, Guarded | Skip]]:
    names = _Names(selection, url)
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            wanted = None if member.is_dir() else names.name(member.filename)
            if wanted is None:
                tick(member.compress_size)
            elif _is_encrypted(member):
                yield wanted, Skip(wanted, "encrypted", member.file_size)
            elif _is_zip_link(member):
                yield wanted, Skip(wanted, "link")
            else:
                with archive.open(member) as stream:
                    yield wanted, Guarded(stream, url)
                tick(member.compress_size)


def _is_encrypted(member: zipfile.ZipInfo) -> bool:
    return bool(member.flag_bits & 0x1)


def _is_zip_link(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a symbolic link: the file type in the Unix mode, its upper 16 bits."""
    return (member.external_attr >> 28) == 0xA


class _Names:
    """The documents' names of an archive's members; two members of one name are refused.

    A member that comes again under its own name is none of these: the last counts, as tar does.
    """

    def __init__(self, selection: Selection, url: str) -> None:
        self.selection = selection
        self.url = url
        self.members: dict[str, str] = {}  # by document

    def name(self, member: str) -> str | None:
        """A member's document, or None when the recipe leaves it out."""
        wanted = self.selection.name(_member_path(member))
        if wanted is None:
            return None
        # './a', '/a' and 'a' are one file for whoever unpacks the archive.
        plain = "/".join(part for part in member.split("/") if part not in ("", "."))
        other = self.members.setdefault(wanted, plain)
        if other != plain:
            raise InputError(
                f"members {other} and {plain} of source {self.url} both become document {wanted}; "
                "change --strip_prefix, or leave one out with --exclude."
            )
        return wanted


def _member_path(name: str) -> str:
    """A member's name as a plain relative path.

    It is a label and no path is ever opened by it, so '..' and a leading '/' only lose their
    meaning.
    """
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def zip_directory(
    source: SourceFile, selection: Selection
) -> Iterator[tuple[str, zipfile.ZipInfo | Skip]]:
    """The wanted documents of a zip archive by its directory alone: nothing is unpacked.

    Of a remote archive only the end is fetched, where the server can give a part of a file.
    """
    names = _Names(selection, source.url)
    with (
        reading(source.url),
        fsspec.open(source.url, "rb") as file,
        zipfile.ZipFile(file) as archive,
    ):
        for member in archive.infolist():
            wanted = None if member.is_dir() else names.name(member.filename)
            if wanted is None:
                continue
            if _is_encrypted(member):
                yield wanted, Skip(wanted, "encrypted", member.file_size)
            elif _is_zip_link(member):
                yield wanted, Skip(wanted, "link")
            else:
                yield wanted, member
