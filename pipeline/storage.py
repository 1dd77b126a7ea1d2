"""Every location is an fsspec URL: what is there, how it is read, removed, digested and checked.

How a URL finds its filesystem is in urls.py, how a file is written in publishing.py. Others import
this module alone: `storage.join`, `storage.read_json`, `storage.writing`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import IO, Any

from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import DamagedError, InputError
from pipeline.publishing import (
    TEMPORARY,
    create,
    temporary_name,
    write_bytes,
    write_json,
    writing,
)
from pipeline.urls import (
    absolute,
    bare,
    default_root,
    filesystem,
    fresh,
    is_local,
    join,
    reaching,
    reason,
    root_url,
)

__all__ = [
    "TEMPORARY",
    "absolute",
    "bare",
    "check_reachable_by",
    "check_writable",
    "create",
    "default_root",
    "exists",
    "filesystem",
    "is_file",
    "is_local",
    "join",
    "modified",
    "names",
    "open_read",
    "read_bytes",
    "read_given",
    "read_json",
    "read_range",
    "read_ranges",
    "remove",
    "remove_tree",
    "root_url",
    "sha256",
    "sha256_bytes",
    "sizes",
    "write_bytes",
    "write_json",
    "writing",
]

_READ_BYTES = 8 << 20
# A remote store is asked for this many bytes at once, or this many ranges, whichever comes first.
_BATCH_BYTES = 64 << 20
_BATCH_RANGES = 1024
_REMOVALS = 100  # attempts at a folder that somebody else removes at the same time


def exists(url: str) -> bool:
    try:
        with reaching(url):
            fs, path = fresh(url)
            return bool(fs.exists(path))
    except FileNotFoundError:  # of a chain: the archive that it leads through is missing
        return False


def is_file(url: str) -> bool:
    try:
        with reaching(url):
            fs, path = fresh(url)
            return bool(fs.isfile(path))
    except FileNotFoundError:  # the same
        return False


def names(url: str) -> list[str]:
    """Sorted names directly under a folder; empty when there is no such folder."""
    try:
        with reaching(url):
            fs, path = fresh(url)
            listed = fs.ls(path, detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    folder = path.rstrip("/")
    # Some stores list the folder itself, and a file lists itself: neither lies under the folder.
    inside = [entry for entry in listed if entry.rstrip("/") != folder]
    return sorted({PurePosixPath(entry).name for entry in inside})


def sizes(url: str) -> dict[str, int]:
    """Sizes in bytes of the files directly under a folder, by name; empty without such a folder."""
    try:
        with reaching(url):
            fs, path = fresh(url)
            listed = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    files = [entry for entry in listed if entry["type"] == "file"]
    return {PurePosixPath(file["name"]).name: int(file["size"] or 0) for file in files}


def modified(url: str) -> float | None:
    """When a file was last written, in seconds since 1970; None where the store does not say."""
    with reaching(url):
        fs, path = fresh(url)
        try:
            return float(fs.modified(path).timestamp())
        except (NotImplementedError, KeyError):
            return None


def open_read(url: str) -> IO[bytes]:
    with reaching(url):
        fs, path = filesystem(url)
        return fs.open(path, "rb")


def read_bytes(url: str) -> bytes:
    with reaching(url):
        fs, path = filesystem(url)
        return fs.cat_file(path)


def read_range(url: str, start: int, stop: int) -> bytes:
    with reaching(url):
        fs, path = filesystem(url)
        return fs.cat_file(path, start=start, end=stop)


def read_ranges(requests: Iterable[tuple[str, int, int]]) -> Iterator[bytes]:
    """The bytes [start, stop) of each (url, start, stop), in order; all URLs on one filesystem.

    Remote ranges are fetched side by side, in batches.
    """
    batch: list[tuple[str, int, int]] = []
    size = 0
    for url, start, stop in requests:
        batch.append((url, start, stop))
        size += stop - start
        if size >= _BATCH_BYTES or len(batch) == _BATCH_RANGES:
            yield from _read_batch(batch)
            batch = []
            size = 0
    if batch:
        yield from _read_batch(batch)


def _read_batch(batch: list[tuple[str, int, int]]) -> Iterator[bytes]:
    with reaching(batch[0][0]):
        yield from _read_ranges(batch)


def _read_ranges(batch: list[tuple[str, int, int]]) -> Iterator[bytes]:
    fs, _ = filesystem(batch[0][0])
    paths = [str(fs._strip_protocol(url)) for url, _, _ in batch]
    starts = [start for _, start, _ in batch]
    stops = [stop for _, _, stop in batch]
    if not isinstance(fs, LocalFileSystem):
        yield from fs.cat_ranges(paths, starts, stops, on_error="raise")
        return
    # fsspec's local filesystem opens the file for every range; here each is opened once.
    handles: dict[str, int] = {}
    try:
        for path, start, stop in zip(paths, starts, stops, strict=True):
            if path not in handles:
                handles[path] = os.open(path, os.O_RDONLY)
            yield os.pread(handles[path], stop - start, start)
    finally:
        for handle in handles.values():
            os.close(handle)


def read_given(url: str, limit: int, what: str) -> bytes:
    """A file that a person named, whole.

    InputError when it cannot be read, or has more than `limit` bytes.
    """
    pieces = []
    size = 0
    try:
        fs, path = filesystem(url)
        with fs.open(path, "rb") as file:
            # However large the file, at most one piece too many is read.
            while size <= limit:
                piece = file.read(_READ_BYTES)
                if not piece:
                    break
                pieces.append(piece)
                size += len(piece)
    except InputError:
        raise
    except Exception as error:  # every store has exceptions of its own
        raise InputError(f"cannot read {what} {url}: {reason(error)}") from None
    if size > limit:
        raise InputError(f"{what} {url} has more than {limit:,} bytes; give a smaller one.")
    return b"".join(pieces)


def read_json(url: str) -> Any:
    """Parsed JSON. A file that is not JSON is refused by name."""
    data = read_bytes(url)
    try:
        return json.loads(data)
    # Of deep brackets, and of numbers of thousands of digits, which are plain ValueErrors.
    except (ValueError, RecursionError) as error:
        raise DamagedError(
            f"{url} is not JSON ({error}); restore it, or rebuild what it belongs to."
        ) from None


def sha256(url: str) -> str:
    """Hex SHA-256 of a file's bytes, read in bounded pieces."""
    digest = hashlib.sha256()
    with reaching(url), open_read(url) as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def sha256_bytes(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def remove(url: str) -> None:
    with reaching(url):
        fs, path = filesystem(url)
        fs.rm_file(path)


def remove_tree(url: str) -> None:
    """Remove a folder and all that is in it. Two that remove it at once are as good as one."""
    with reaching(url):
        for _ in range(_REMOVALS):
            fs, path = fresh(url)
            if not fs.exists(path):
                return
            # Another one removes it, too: what is gone already ends this attempt, not the removal.
            with contextlib.suppress(FileNotFoundError):
                fs.rm(path, recursive=True)
                return


def check_writable(url: str, option: str = "--root") -> None:
    """Raise InputError, naming the URL and the reason, unless a file can come and go under it."""
    probe = join(url, temporary_name("probe"))
    try:
        write_bytes(probe, b"x")  # an empty file has room on a full disk
        remove(probe)
    except Exception as error:  # every store has exceptions of its own
        raise InputError(
            f"cannot write under {url}: {reason(error)}. Choose another {option}."
        ) from None


def check_file_writable(url: str, option: str) -> None:
    """Raise InputError, naming the URL and the reason, unless a file can be written at it."""
    parent, _, name = url.rpartition("/")
    is_taken = not name or (is_local(url) and exists(url) and not is_file(url))
    if is_taken:
        raise InputError(f"{option} {url} is a folder; give the URL of a file.")
    check_writable(parent or "/", option)


def check_reachable_by(root: str, nodes: int, option: str = "--root") -> None:
    """Refuse a local folder on a cluster of several nodes: workers elsewhere would not see it."""
    is_shared = os.environ.get("UNREASONABLE_SHARED_ROOT") == "1"
    if nodes > 1 and is_local(root) and not is_shared:
        raise InputError(
            f"{root} is on one machine, the cluster has {nodes} nodes; give {option} a URL that "
            "all of them reach, such as s3://bucket/unreasonable, or set "
            "UNREASONABLE_SHARED_ROOT=1 if it is a shared file system."
        )
