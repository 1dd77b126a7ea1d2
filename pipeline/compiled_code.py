"""Code that numba compiled, kept on disk for the next process.

numba's index of a cache is written before the data, and its data are numbered: two hosts that share
a folder may write the same number, and one then runs the other's instructions. Here there is no
index. A file is named by its whole key, begins with the digest of its content, and is replaced
whole; one that is damaged is compiled again. Where nothing can be kept, every process compiles.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile
from numba.core.caching import UserWideCacheLocator as UserWide

log = logging.getLogger("unreasonable")

_DIGEST_BYTES = 32  # SHA-256, before the pickle in a file
_UNUSED_S = 30 * 86400.0  # after which a file of other sources is removed


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba.njit with these options; the code is kept for as long as the function's file is the
    same.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher: Any = numba.njit(**options)(function)
        keep(dispatcher, function, _file_digest(inspect.getfile(function)))
        return dispatcher

    return decorate


def keep(dispatcher: Any, function: Callable[..., Any], stamp: str) -> None:
    """Keep a function's code on disk. `stamp` is a digest of all that the code is made of."""
    try:
        dispatcher._cache = _StampedCache(function, stamp)
    except (RuntimeError, OSError):  # there is no folder that can be written
        _tell_nothing_is_kept()


@functools.cache
def _file_digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@functools.cache
def _tell_nothing_is_kept() -> None:
    log.warning(
        "compiled code cannot be kept on disk, so every process compiles for about half a minute; "
        "set NUMBA_CACHE_DIR to a folder that can be written."
    )


class _Folders(CompileResultCacheImpl):  # type: ignore[misc, unused-ignore]
    """numba's choice of folders, but for a home that nobody has."""

    def __init__(self, function: Callable[..., Any]) -> None:
        # Without HOME and an entry in /etc/passwd, numba would make a folder called "~".
        if os.path.expanduser("~") == "~":
            kept = [each for each in self._locator_classes if each is not UserWide]
            self._locator_classes = kept
        super().__init__(function)


class _StampedCache(FunctionCache):  # type: ignore[misc, unused-ignore]
    """numba's cache of one function, stamped with what its code is made of."""

    _impl_class = _Folders

    def __init__(self, function: Callable[..., Any], stamp: str) -> None:
        super().__init__(function)
        self._cache_file = _KeyedFiles(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=stamp,
        )

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code, if the disk takes it: what was compiled runs all the same."""
        try:
            super().save_overload(sig, data)
        except OSError:
            _tell_nothing_is_kept()


class _KeyedFiles(IndexDataCacheFile):  # type: ignore[misc, unused-ignore]
    """The files of one function: <function>.<sources>.<key>.nbc, a digest and a pickle."""

    def __init__(self, cache_path: str, filename_base: str, source_stamp: str) -> None:
        super().__init__(cache_path, filename_base, source_stamp)
        self._start = f"{filename_base}."
        self._own_start = f"{filename_base}.{source_stamp[:8]}."

    def flush(self) -> None:
        for path in Path(self._cache_path).glob(f"{self._own_start}*"):
            path.unlink(missing_ok=True)

    def save(self, key: Any, data: Any) -> None:
        content: bytes = self._dump(data)
        # Written beside and renamed, without fsync: after a power cut the digest finds what is not
        # there, and it is compiled again.
        with self._open_for_write(str(self._path(key))) as file:
            file.write(hashlib.sha256(content).digest() + content)
        self._remove_unused()

    def load(self, key: Any) -> Any:
        path = self._path(key)
        try:
            kept = path.read_bytes()
        except OSError:
            return None  # not compiled yet, or not ours to read
        content = kept[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != kept[:_DIGEST_BYTES]:
            return None  # the compiled code will replace it
        return pickle.loads(content)

    def _path(self, key: Any) -> Path:
        """The file of a signature, a processor and a function's bytecode, of these sources and this
        numba.
        """
        whole = repr((key, self._source_stamp, self._version, llvmlite.__version__))
        digest = hashlib.sha256(whole.encode()).hexdigest()
        return Path(self._cache_path) / f"{self._own_start}{digest[:32]}.nbc"

    def _remove_unused(self) -> None:
        """Remove what older sources and killed processes left. Files of other processors stay."""
        for path in Path(self._cache_path).glob(f"{self._start}*"):
            is_ours = path.name.startswith(self._own_start) and path.suffix == ".nbc"
            try:
                if not is_ours and time.time() - path.stat().st_mtime > _UNUSED_S:
                    path.unlink()
            except OSError:
                continue  # another process was faster, or it is not ours
