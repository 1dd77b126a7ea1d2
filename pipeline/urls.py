"""URLs: which filesystem they are on, and how they are joined and made absolute.

Every location is an fsspec URL; a local path is one too.
"""

from __future__ import annotations

import os

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import InputError

_HTTP = ("http://", "https://")
_LOCAL = ("file://", "local://")


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of a URL, and the URL's path on it. An unknown protocol is an InputError."""
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InputError(
            f"cannot open {url!r}: {error}. "
            "Use a path or an fsspec URL, or install the protocol's package."
        ) from None
    return fs, path


def is_local(url: str) -> bool:
    fs, _ = filesystem(url)
    return isinstance(fs, LocalFileSystem)


def absolute(url: str) -> str:
    """The URL with a local path made absolute.

    A submitted job's working directory is a cache that goes away, so nothing may depend on it.
    """
    if "::" in url:
        chain, _, last = url.rpartition("::")
        return f"{chain}::{absolute(last)}"
    if url.startswith(_HTTP):
        return url  # a server tells a folder apart by its last "/"
    if "://" in url and not url.startswith(_LOCAL):
        return url.rstrip("/")
    path = url.split("://", 1)[1] if "://" in url else url
    return os.path.abspath(os.path.expanduser(path))


def bare(url: str) -> str:
    """An http URL without query and fragment, so that its path says what the file is.

    Any other URL stays as it is.
    """
    if not url.startswith(_HTTP):
        return url
    without_fragment = url.split("#", maxsplit=1)[0]
    return without_fragment.split("?", maxsplit=1)[0]


def fresh(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of a URL, without the listings that fsspec keeps: others write there too."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    return fs, path


def join(url: str, *parts: str) -> str:
    return "/".join([url.rstrip("/"), *parts])


def default_root() -> str:
    return os.environ.get("UNREASONABLE_ROOT") or "~/unreasonable"
