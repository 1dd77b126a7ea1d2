"""Files that appear under their final name complete, or not at all.

Local files are written beside and renamed after fsync, object stores put whole objects, other
filesystems are written beside and moved.

A local file on its way is locked by its writer, and the lock goes with the process. So what killed
jobs left is known, and the first file that a later process writes into a folder sweeps it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import InputError
from pipeline.urls import OBJECT_STORES, filesystem, fresh, reaching, refusal

TEMPORARY = ".writing-"  # prefix of a file on its way; a reader never opens one
# A file may be without its lock for moments: before it is locked, and between its end and a link.
_UNLOCKED_S = 2.0
# Where there are no locks, a file that nobody has written to for a day is a killed job's.
_ABANDONED_S = 86400.0
_swept: set[str] = set()  # folders that this process has swept: once each, as a listing costs
# Where stores' own exceptions come from, of those that are no OSError.
_STORE_PACKAGES = {
    "adlfs",
    "aiobotocore",
    "aiohttp",
    "azure",
    "botocore",
    "gcsfs",
    "google",
    "requests",
    "s3fs",
    "urllib3",
}


@contextlib.contextmanager
def writing(url: str) -> Iterator[IO[bytes]]:
    """Open a new file for writing.

    It is published under `url` when the block ends well, and leaves nothing otherwise. A full disk
    or a store that refuses is a StoreError; what else the block raises passes as it is.
    """
    fs, path = filesystem(url)
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if isinstance(fs, LocalFileSystem):
        writer = _writing_local(path)
    elif protocols & OBJECT_STORES:
        writer = _writing_object(fs, path)
    else:
        writer = _writing_beside(fs, path)
    try:
        with writer as file:
            yield file
    except InputError:
        raise
    except Exception as error:
        if not _is_of_a_store(error):
            raise
        raise refusal(url, error) from None


def write_bytes(url: str, data: bytes) -> None:
    with writing(url) as file:
        file.write(data)


def write_json(url: str, value: Any, indent: int | None = 2) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False, sort_keys=True)
    write_bytes(url, f"{text}\n".encode())


def create(url: str, data: bytes) -> bool:
    """Publish a new file whole, unless there is one. Of several that try, one gets True.

    Atomic on local files and on object stores with conditional writes (fsspec's mode "create": S3,
    GCS); elsewhere as good as fsspec's own check. `data` should tell its writer: a store that
    answers late may refuse what it has just taken, and then the content decides whose file it is.
    """
    fs, path = fresh(url)
    with reaching(url):
        try:
            if isinstance(fs, LocalFileSystem):
                _create_local(path, data)
            else:
                fs.pipe_file(path, data, mode="create")
        except OSError:
            fs.invalidate_cache()  # the file may be there by now
            if not fs.exists(path):
                raise
            return bool(fs.cat_file(path) == data)
    return True


def temporary_name(name: str) -> str:
    """A name for a file on its way: no two writers share one."""
    return f"{TEMPORARY}{name}-{uuid.uuid4().hex[:8]}"


def _is_of_a_store(error: Exception) -> bool:
    """Whether a filesystem raised it, and not the code that wrote to the file."""
    # A filesystem that only reads says NotImplementedError.
    package = type(error).__module__.split(".")[0]
    return isinstance(error, OSError | NotImplementedError) or package in _STORE_PACKAGES


@contextlib.contextmanager
def _writing_object(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[IO[bytes]]:
    file = fs.open(path, "wb")
    try:
        yield file
    except BaseException:
        # close() would complete the upload and publish half a file.
        with contextlib.suppress(Exception):
            file.discard()
        file.closed = True  # or the file's destructor would close it
        raise
    file.close()


@contextlib.contextmanager
def _writing_beside(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[IO[bytes]]:
    folder, _, name = path.rpartition("/")
    fs.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/{temporary_name(name)}"
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
    if os.path.isdir(folder):
        _sweep_once(folder)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, temporary_name(name))
    try:
        with open(temporary, "wb") as file:
            with contextlib.suppress(OSError):  # a filesystem without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    # The rename is a change of the folder, and must survive a power cut too.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep_once(folder: str) -> None:
    """Remove files on their way whose writers are gone."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(TEMPORARY)]
        for path in left:
            _remove_if_left(path)


def _remove_if_left(path: str) -> None:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        age_s = time.time() - os.fstat(file.fileno()).st_mtime
        if age_s < _UNLOCKED_S:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # it is being written
        except OSError:
            if age_s < _ABANDONED_S:
                return
        os.unlink(path)


def _create_local(path: str, data: bytes) -> None:
    """Link a finished file to its name: a link appears whole, and only where nothing is."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, temporary_name(name))
    write_bytes(temporary, data)
    try:
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
