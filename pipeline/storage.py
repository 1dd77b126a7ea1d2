"""URLs to filesystems: the only module that decides how a path is read, written, published and digested.

Every location is an fsspec URL. A file appears under its final name complete or not at all: local files are written
beside and renamed after fsync, object stores put whole objects, other filesystems are written beside and moved.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import DamagedError, InputError

TEMPORARY = ".writing-"  # prefix of a file on its way; a reader never opens one
_READ_BYTES = 8 << 20
_BATCH_BYTES = 64 << 20  # of ranges asked of a remote store at once
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss"}  # an upload is seen when it is complete


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of a URL, and the URL's path on it. An unknown protocol is an InputError."""
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InputError(
            f"cannot open {url!r}: {error}. Use a path or an fsspec URL, or install the protocol's package."
        ) from None
    return fs, path


def is_local(url: str) -> bool:
    return isinstance(filesystem(url)[0], LocalFileSystem)


def absolute(url: str) -> str:
    """The URL with a local path made absolute: a submitted job's working directory is a cache that goes away."""
    if "::" in url:
        chain, _, last = url.rpartition("::")
        return f"{chain}::{absolute(last)}"
    if "://" in url and not url.startswith(("file://", "local://")):
        return url if url.startswith(("http://", "https://")) else url.rstrip("/")  # there, "/" tells folders apart
    path = url.split("://", 1)[1] if "://" in url else url
    return os.path.abspath(os.path.expanduser(path))


def bare(url: str) -> str:
    """An http URL without its query and fragment, whose path says what the file is; any other URL as it is."""
    return url.split("#", maxsplit=1)[0].split("?", maxsplit=1)[0] if url.startswith(("http://", "https://")) else url


def join(url: str, *parts: str) -> str:
    return "/".join([url.rstrip("/"), *parts])


def default_root() -> str:
    return os.environ.get("UNREASONABLE_ROOT") or "~/unreasonable"


def exists(url: str) -> bool:
    fs, path = filesystem(url)
    fs.invalidate_cache()
    return bool(fs.exists(path))


def names(url: str) -> list[str]:
    """Sorted names directly under a folder; empty when there is no such folder."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    try:
        found = fs.ls(path, detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    own = path.rstrip("/")
    return sorted({PurePosixPath(p).name for p in found if p.rstrip("/") != own})


def sizes(url: str) -> dict[str, int]:
    """Sizes in bytes of the files directly under a folder, by name; empty when there is no such folder."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    try:
        found = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {PurePosixPath(each["name"]).name: int(each["size"] or 0) for each in found if each["type"] == "file"}


def modified(url: str) -> float | None:
    """When a file was last written, in seconds since 1970; None where the store does not say."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    try:
        return float(fs.modified(path).timestamp())
    except (NotImplementedError, KeyError):
        return None


def open_read(url: str) -> IO[bytes]:
    fs, path = filesystem(url)
    return fs.open(path, "rb")


def read_bytes(url: str) -> bytes:
    fs, path = filesystem(url)
    return fs.cat_file(path)


def read_range(url: str, start: int, stop: int) -> bytes:
    fs, path = filesystem(url)
    return fs.cat_file(path, start=start, end=stop)


def read_ranges(requests: Iterable[tuple[str, int, int]]) -> Iterator[bytes]:
    """The bytes [start, stop) of each (url, start, stop), in order. Remote ranges are fetched side by side, in batches."""
    batch: list[tuple[str, int, int]] = []
    size = 0
    for request in requests:
        batch.append(request)
        size += request[2] - request[1]
        if size >= _BATCH_BYTES or len(batch) == 1024:
            yield from _ranges(batch)
            batch, size = [], 0
    if batch:
        yield from _ranges(batch)


def _ranges(batch: list[tuple[str, int, int]]) -> Iterator[bytes]:
    fs, _ = filesystem(batch[0][0])
    paths = [str(fs._strip_protocol(url)) for url, _, _ in batch]
    if not isinstance(fs, LocalFileSystem):
        starts, stops = [start for _, start, _ in batch], [stop for _, _, stop in batch]
        yield from fs.cat_ranges(paths, starts, stops, on_error="raise")
        return
    handles: dict[str, int] = {}
    try:
        for path, (_, start, stop) in zip(paths, batch, strict=True):
            if path not in handles:
                handles[path] = os.open(path, os.O_RDONLY)
            yield os.pread(handles[path], stop - start, start)
    finally:
        for handle in handles.values():
            os.close(handle)


def read_given(url: str, most: int, what: str) -> bytes:
    """A file that a person named, whole. InputError when it cannot be read, or has more than `most` bytes."""
    pieces, size = [], 0
    try:
        with open_read(url) as file:
            while (piece := file.read(_READ_BYTES)) and size <= most:
                pieces.append(piece)
                size += len(piece)
    except InputError:
        raise
    except Exception as error:  # every store has exceptions of its own
        raise InputError(f"cannot read {what} {url}: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None
    if size > most:
        raise InputError(f"{what} {url} has more than {most:,} bytes; give a smaller one.")
    return b"".join(pieces)


def read_json(url: str) -> Any:
    """Parsed JSON. A file that is not JSON is refused by name."""
    try:
        return json.loads(read_bytes(url))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedError(f"{url} is not JSON ({error}); restore it, or rebuild what it belongs to.") from None


@contextlib.contextmanager
def writing(url: str) -> Iterator[IO[bytes]]:
    """Open a new file for writing; it is published under `url` when the block ends well, and leaves nothing otherwise."""
    fs, path = filesystem(url)
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    write = _writing_local(path) if isinstance(fs, LocalFileSystem) else None
    write = write or (_writing_object(fs, path) if protocols & _OBJECT_STORES else _writing_beside(fs, path))
    with write as file:
        yield file


@contextlib.contextmanager
def _writing_object(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[IO[bytes]]:
    file = fs.open(path, "wb")
    try:
        yield file
    except BaseException:
        # close() would complete the upload and publish half a file.
        with contextlib.suppress(Exception):
            file.discard()
        file.closed = True
        raise
    file.close()


@contextlib.contextmanager
def _writing_beside(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[IO[bytes]]:
    folder, _, name = path.rpartition("/")
    fs.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/{TEMPORARY}{name}-{uuid.uuid4().hex[:8]}"
    try:
        with fs.open(temporary, "wb") as file:
            yield file
        fs.mv(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(temporary)
        raise


@contextlib.contextmanager
def _writing_local(path: str) -> Iterator[IO[bytes]]:
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f"{TEMPORARY}{name}-{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)  # the rename itself must survive a power cut
    finally:
        os.close(handle)


def write_bytes(url: str, data: bytes) -> None:
    with writing(url) as file:
        file.write(data)


def create(url: str, data: bytes) -> bool:
    """Publish a new file whole, unless there is one; whether it is ours. Of several that try, one succeeds.

    Atomic on local files and on object stores with conditional writes (fsspec's mode "create": S3, GCS); elsewhere as good
    as fsspec's own check. `data` should tell its writer: a store that answers late may refuse what it has just taken.
    """
    fs, path = filesystem(url)
    fs.invalidate_cache()
    try:
        if isinstance(fs, LocalFileSystem):
            _create_local(path, data)
        else:
            fs.pipe_file(path, data, mode="create")
    except OSError:
        fs.invalidate_cache()
        if not fs.exists(path):
            raise
        return bool(fs.cat_file(path) == data)
    return True


def _create_local(path: str, data: bytes) -> None:
    """A link appears with its content and only where nothing is."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f"{TEMPORARY}{name}-{uuid.uuid4().hex[:8]}")
    write_bytes(temporary, data)
    try:
        os.link(temporary, path)
    finally:
        os.unlink(temporary)


def write_json(url: str, value: Any, indent: int | None = 2) -> None:
    write_bytes(url, (json.dumps(value, indent=indent, ensure_ascii=False, sort_keys=True) + "\n").encode())


def remove(url: str) -> None:
    fs, path = filesystem(url)
    fs.rm_file(path)


def remove_tree(url: str) -> None:
    fs, path = filesystem(url)
    fs.invalidate_cache()
    if fs.exists(path):
        fs.rm(path, recursive=True)


def check_writable(url: str, option: str = "--root") -> None:
    """Raise InputError, naming the URL and the reason, unless a file can be created and removed under `url`."""
    probe = join(url, f"{TEMPORARY}probe-{uuid.uuid4().hex[:8]}")
    try:
        write_bytes(probe, b"")
        remove(probe)
    except Exception as error:  # every store has exceptions of its own
        raise InputError(f"cannot write under {url}: {type(error).__name__}: {error}. Choose another {option}.") from None


def check_reachable_by(root: str, nodes: int, option: str = "--root") -> None:
    """Refuse a local root, or another option's folder, on a cluster of several nodes: workers elsewhere would not see it."""
    if nodes > 1 and is_local(root) and os.environ.get("UNREASONABLE_SHARED_ROOT") != "1":
        raise InputError(
            f"{root} is on one machine, the cluster has {nodes} nodes; give {option} a URL that all of them reach, such as "
            "s3://bucket/unreasonable, or set UNREASONABLE_SHARED_ROOT=1 if it is a shared file system."
        )


def sha256(url: str) -> str:
    """Hex SHA-256 of a file's bytes, read in bounded pieces."""
    digest = hashlib.sha256()
    with open_read(url) as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def sha256_bytes(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
