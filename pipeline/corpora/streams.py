"""Archives and compressed files, read as streams: once, in their own order, never extracted by name."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any

import fsspec
import pyarrow as pa

from pipeline import storage
from pipeline.corpora.sources import Selection, Skip, SourceFile, kind_of
from pipeline.errors import InputError

_COPY_BYTES = 8 << 20

Tick = Callable[[int], None]


def open_stream(source: SourceFile, selection: Selection, tick: Tick = lambda _: None) -> Iterator[tuple[str, Guarded | Skip]]:
    """Yield (relative path, readable stream or Skip) for every wanted document of an archive or compressed file.

    Members come in archive order and each must be read before the next; a path that comes twice counts the last time.
    `tick` hears of the bytes of the file itself as they are consumed. Raises InputError, naming the file, for one that
    is damaged, cut short or cannot be read.
    """
    compression, archive = kind_of(storage.bare(source.url))
    with reading(source.url):
        if archive == "zip":
            with _seekable(source.url) as file:
                yield from _zip_members(file, selection, source.url, tick)
            return
        with fsspec.open(source.url, "rb") as raw, _decompressed(_Counted(raw, tick), compression) as file:
            if archive == "tar":
                yield from _tar_members(file, selection, source.url)
            else:
                yield source.path, Guarded(file, source.url)


@contextlib.contextmanager
def reading(url: str) -> Iterator[None]:
    """Turn whatever a store or decoder raises while a source is read into an InputError that names the source."""
    try:
        yield
    except (InputError, GeneratorExit):
        raise
    except FileNotFoundError:
        raise InputError(f"source {url} is not there any more; build again when it is at rest.") from None
    except Exception as error:  # every store and every decoder has exceptions of its own
        reason = " ".join(str(error).split()) or "it ends early"
        raise InputError(
            f"cannot read source {url}: {type(error).__name__}: {reason}. Check that it is whole, or fetch it again."
        ) from None


class Guarded:
    """A stream whose read errors are InputErrors that name the source."""

    def __init__(self, stream: IO[bytes], url: str) -> None:
        self.stream, self.url = stream, url

    def read(self, size: int = -1) -> bytes:
        with reading(self.url):
            return self.stream.read(size)


class _Counted:
    """A raw file that tells `tick` how many of its bytes are read."""

    def __init__(self, file: IO[bytes], tick: Tick) -> None:
        self.file, self.tick = file, tick
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.tick(len(data))
        return data

    def close(self) -> None:
        self.closed = True


def _decompressed(file: Any, compression: str | None) -> Any:
    """The decompressed stream; concatenated members and frames are read to the end, a cut-off one raises."""
    if compression == "zstd":
        return contextlib.closing(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))
    if compression:
        return fsspec.compression.compr[compression](file, mode="rb")
    return contextlib.closing(file)


@contextlib.contextmanager
def _seekable(url: str) -> Iterator[IO[bytes]]:
    """A file that can be read in any order: itself, or a temporary copy of what a server sends in one go."""
    with fsspec.open(url, "rb") as file:
        if storage.is_local(url):
            yield file
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(file, copy, _COPY_BYTES)
            copy.seek(0)
            yield copy


class _StrictTarInfo(tarfile.TarInfo):
    """tarfile takes a damaged header, or a missing end mark, for the end of the archive; here they are errors."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _StrictTarInfo:
        try:
            return super().fromtarfile(tar)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"damaged or cut short behind byte {tar.offset} ({error})") from None


def _tar_members(file: IO[bytes], selection: Selection, url: str) -> Iterator[tuple[str, Guarded | Skip]]:
    with tarfile.open(fileobj=file, mode="r|", bufsize=1 << 20, tarinfo=_StrictTarInfo) as tar:
        for member in tar:
            if member.isdir():
                continue
            wanted = selection.name(_member_path(member.name))
            tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header otherwise
            if wanted is None:
                continue
            if member.issym() or member.islnk():
                yield wanted, Skip(wanted, "link")
            elif stream := tar.extractfile(member):
                yield wanted, Guarded(stream, url)
            else:
                yield wanted, Skip(wanted, "not a regular file")


def _zip_members(file: IO[bytes], selection: Selection, url: str, tick: Tick) -> Iterator[tuple[str, Guarded | Skip]]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            wanted = None if member.is_dir() else selection.name(_member_path(member.filename))
            if wanted is None:
                tick(member.compress_size)
            elif member.flag_bits & 0x1:
                yield wanted, Skip(wanted, "encrypted", member.file_size)
            elif (member.external_attr >> 28) == 0xA:
                yield wanted, Skip(wanted, "link")
            else:
                with archive.open(member) as stream:
                    yield wanted, Guarded(stream, url)
                tick(member.compress_size)


def _member_path(name: str) -> str:
    """A member's name as a plain relative path: a label, so '..' and leading '/' only lose their meaning."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))
