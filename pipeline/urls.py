"""URLs: which filesystem they are on, and how they are joined, made absolute and checked as a root.

Every location is an fsspec URL; a local path is one too.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import InputError, StoreError

_HTTP = ("http://", "https://")
# Protocols of stores where an upload is seen only when it is complete; their paths begin with a
# bucket.
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss"}
_LOCAL = ("file://", "local://")
# Filesystems that look into one file, that nobody can write to, or that end with their process.
_READ_ONLY = ("zip", "tar", "libarchive", "data", "reference", "git", "github", "memory")
# In a root's path these mean something else to somebody: a database's URL is cut at ? and #, its
# escapes begin with %, and object stores take * and [ for patterns, also when a folder is removed.
_AMBIGUOUS = re.compile(r"[?#%*\[\]]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_MAX_REASON_CHARS = 300


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of a URL, and the URL's path on it.

    An unknown protocol, or one that cannot be had from this URL, is an InputError.
    """
    if "\0" in url:
        raise InputError(f"{url!r} holds a NUL character; no file is called so: leave it out.")
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except FileNotFoundError:  # of a chain: the archive is missing, which callers say better
        raise
    except Exception as error:  # every protocol has exceptions of its own
        raise InputError(
            f"cannot open {url!r}: {reason(error)}. "
            "Use a path or an fsspec URL, or install the protocol's package."
        ) from None
    return fs, path


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn whatever a store raises in the block into a StoreError that names the URL.

    Files that are not there stay FileNotFoundError and NotADirectoryError, which callers expect.
    """
    try:
        yield
    except (InputError, FileNotFoundError, NotADirectoryError):
        raise
    except Exception as error:  # every store has exceptions of its own
        raise refusal(url, error) from None


def refusal(url: str, error: Exception) -> StoreError:
    """What is said of a store that cannot be read or written."""
    said = StoreError(
        f"cannot reach {url}: {reason(error)}. "
        "Check the URL, and its store's credentials, endpoint, rights and free space."
    )
    said.why = reason(error)
    return said


def reason(error: Exception) -> str:
    """An exception of somebody else's as part of one line."""
    if isinstance(error, StoreError) and error.why:
        return error.why
    text = " ".join(str(error).split())[:_MAX_REASON_CHARS].rstrip(".")
    # Our own errors, unknown protocols and missing packages say all of it themselves.
    says_all = isinstance(error, InputError | ImportError) or type(error) is ValueError
    return text if says_all and text else f"{type(error).__name__}: {text}".removesuffix(": ")


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
        protocol, _, rest = url.partition("://")
        # Without its end, s3:// would be a local folder of the name "s3:".
        if not rest.strip("/") or (protocol in OBJECT_STORES and rest.startswith("/")):
            raise InputError(
                f"{url} names no place in its store; give all of it: {protocol}://BUCKET/FOLDER."
            )
        return url.rstrip("/")
    path = url.split("://", 1)[1] if "://" in url else url
    return os.path.abspath(os.path.expanduser(path))


def root_url(url: str, option: str = "--root") -> str:
    """The absolute URL of a folder that can hold a root.

    InputError for what can only be read, and for a path whose characters mean something else to a
    store or a database. Asks no store: whether it can be written is `check_writable`'s question.
    """
    if not url.strip():
        raise InputError(f"{option} is empty; give a folder or an fsspec URL.")
    strange = _UNPRINTABLE.search(url)
    if strange:
        raise InputError(
            f"{option} {url!r} holds {strange.group()!r}; use a path of printable characters."
        )
    protocol = url.split("://", 1)[0] if "://" in url else ""
    if "::" in url or url.startswith(_HTTP) or protocol in _READ_ONLY:
        raise InputError(
            f"{option} {url} cannot hold a root; give a folder, or the URL of one on an object "
            "store, such as s3://bucket/unreasonable."
        )
    ambiguous = _AMBIGUOUS.search(url)
    if ambiguous:
        raise InputError(
            f"{option} {url} holds {ambiguous.group()!r}, which stores and databases read as more "
            "than a name; choose a path without any of ? # % * [ ]."
        )
    root = absolute(url)
    try:
        filesystem(root)
    except InputError as error:  # a protocol that is not known, or not installed
        raise InputError(f"{option}: {error}") from None
    return root


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
