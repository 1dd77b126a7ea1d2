"""Where documents come from: folders, globs, files, archives and compressed streams at any URL.

`list_source` says what is there and plans the reading; streams.py reads archives and compressed
files.
"""

from __future__ import annotations

import os
import posixpath
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.selection import Selection, fixed_part
from pipeline.errors import InputError

PYSTDLIB = "pystdlib:"
_COMPRESSION = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".lzma": "lzma", ".zst": "zstd"}
_ARCHIVES = re.compile(r"\.(?:tar(?:\.(gz|bz2|xz|lzma|zst))?|tgz|tbz2|txz|tlz|tzst|zip)$")
# What is behind ".tar" in full.
_SHORT_TAR = {"tgz": "gz", "tbz2": "bz2", "txz": "xz", "tlz": "lzma", "tzst": "zst"}
# The member ends at the first "::": what follows is the archive's URL, perhaps a chain itself.
_CHAINED_ARCHIVE = re.compile(r"(zip|tar)://(.*?)::(.+)", re.DOTALL)


@dataclass(frozen=True)
class SourceFile:
    """One file as listed: its relative path (the document's name), its URL, its size, its state.

    For an archive `path` is the prefix of its members' names. `state` changes when the content does
    (modification time or etag); "" when the store tells nothing. `within` is the member, folder or
    pattern of an archive that a chained URL such as zip://enwik8::https://... asks for.
    """

    path: str
    url: str
    size: int
    state: str = ""
    within: str = ""


@dataclass(frozen=True)
class Skip:
    """A document left out, why, and its size in source bytes (0 where it was not read)."""

    path: str
    reason: str
    size: int = 0


@dataclass
class Listing:
    """What a source holds: files, streams and skips.

    Streams (archives and compressed files) are read once from their beginning; other files can be
    read in any order. `driver_only` sources are read in the process that starts the build.
    """

    files: list[SourceFile] = field(default_factory=list)
    streams: list[SourceFile] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    driver_only: bool = False

    def add(self, other: Listing) -> None:
        """Take in what another source holds."""
        self.files += other.files
        self.streams += other.streams
        self.skips += other.skips
        self.driver_only |= other.driver_only


def list_source(url: str, config: CorpusConfig) -> Listing:
    """Everything under one source URL, in order of path.

    A source that is not there, or that its store refuses to list, is an InputError.
    """
    # With several sources a document's name begins with its source's, so that none meet.
    prefix = f"{stem(url)}/" if len(config.sources) > 1 else ""
    if url == PYSTDLIB:
        listing = _list_tree(sysconfig.get_paths()["stdlib"], Selection(config, prefix))
        listing.driver_only = True  # another host may have another Python
        return listing
    url = storage.absolute(url)
    try:
        return _list_url(url, config, prefix)
    except InputError:
        raise
    except FileNotFoundError as error:
        # fsspec says so of a web server that cannot be reached, too, and keeps why behind it.
        cause = error.__cause__
        is_absent = getattr(cause, "status", None) in (404, 410)
        if cause is not None and "http" in url and not is_absent:
            why = " ".join(str(cause).split())[:200] or type(cause).__name__
            raise InputError(
                f"source {url} cannot be had: {why}. Check the address and the network."
            ) from None
        raise InputError(f"source {url} does not exist; give another --source.") from None
    except Exception as error:  # every store has exceptions of its own
        raise InputError(
            f"cannot read source {url}: {type(error).__name__}: {error}. "
            "Check the URL and its access."
        ) from None


def check_unchanged(file: SourceFile) -> None:
    """Raise InputError when a file is not what it was when it was listed.

    Asked when it has been read: then what was read is what was listed.
    """
    fs, path = storage.filesystem(file.url)
    if isinstance(fs, LocalFileSystem):
        stat = os.stat(path)
        size = stat.st_size
        # As the two ways of listing write it.
        states = [f"mtime:{stat.st_mtime_ns}", f"mtime:{stat.st_mtime}"]
    else:
        fs.invalidate_cache(path)
        info = fs.info(path)
        size = int(info.get("size") or 0)
        states = [_state(info)]
    is_other = bool(file.state) and file.state not in states
    if is_other or (file.size and size != file.size):
        raise InputError(f"{file.url} changed while it was read; build again when it is at rest.")


def stem(url: str) -> str:
    """The last name in a URL, which tells several sources apart."""
    path = storage.bare(url.split("::", maxsplit=1)[0]).rstrip("/:")
    return posixpath.basename(path) or path


def kind_of(path: str) -> tuple[str | None, str | None]:
    """(compression, archive format) of a path, by its ending in small or capital letters.

    The compression is fsspec's name of one, or None; the archive format is 'tar', 'zip' or None.
    """
    path = path.lower()
    match = _ARCHIVES.search(path)
    if match is None:
        return _COMPRESSION.get(posixpath.splitext(path)[1]), None
    ending = match.group().lstrip(".")
    if ending == "zip":
        return None, "zip"
    packed = _SHORT_TAR.get(ending) or match.group(1)
    return (_COMPRESSION[f".{packed}"] if packed else None), "tar"


def _list_url(url: str, config: CorpusConfig, prefix: str) -> Listing:
    chained = _CHAINED_ARCHIVE.fullmatch(url)
    if chained:
        return _list_chained(chained, prefix)
    fs, path = storage.filesystem(url)
    # A file may have wildcards in its name, and an http query has a '?': what is there comes first.
    if _is_glob(path) and not fs.exists(path):
        return _list_glob(fs, path, url, config, prefix)
    if _is_folder(fs, path, url):
        return _list_tree(url, Selection(config, prefix))
    return _list_file(fs, path, url, Selection(config, prefix))


def _is_glob(path: str) -> bool:
    return any(wildcard in path for wildcard in "*?[")


def _is_folder(fs: fsspec.AbstractFileSystem, path: str, url: str) -> bool:
    # isdir() of an http file fetches all of it, to look for links.
    return url.endswith("/") if _is_http(url) else bool(fs.isdir(path))


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _list_chained(chained: re.Match[str], prefix: str) -> Listing:
    """zip://MEMBER::URL and tar://MEMBER::URL.

    The archive is read as a stream, as any other is, and the member picked out of it.
    """
    kind, member, url = chained.groups()
    if kind_of(storage.bare(url))[1] != kind:
        raise InputError(
            f"{url} does not end as a {kind} archive does; {kind}:// cannot look into it."
        )
    fs, path = storage.filesystem(url)
    info = fs.info(path)
    _check_regular(fs, path, url)
    return Listing(streams=[_source_file(prefix, url, info, member)])


def _check_regular(fs: fsspec.AbstractFileSystem, path: str, url: str) -> None:
    """Raise InputError for a pipe, a socket or a device: reading one may wait for ever."""
    if isinstance(fs, LocalFileSystem) and not os.path.isfile(path):
        raise InputError(
            f"source {url} is neither a file nor a folder but a pipe, a socket or a device; "
            "write what it gives to a file, and give that as --source."
        )


def _list_file(
    fs: fsspec.AbstractFileSystem, path: str, url: str, selection: Selection, name: str = ""
) -> Listing:
    """A single file: a document called `name` (default: its own name), or an archive of documents.

    An archive's members are called by their paths in it, under `name` where that is given. A plain
    file is read in ranges where the store can do that, else as a stream.
    """
    info = fs.info(path)
    _check_regular(fs, path, url)
    compression, archive = kind_of(storage.bare(path))
    if archive:
        folder = f"{name}/" if name else ""
        return Listing(streams=[_source_file(selection.prefix + folder, url, info)])
    base = name or posixpath.basename(storage.bare(path).rstrip("/"))
    if compression:
        base = posixpath.splitext(base)[0]  # the document is what is inside
    wanted = selection.name(base)
    if wanted is None:
        return Listing()
    file = _source_file(wanted, url, info)
    if compression or not _has_ranges(url, info):
        return Listing(streams=[file])
    return Listing(files=[file])


def _has_ranges(url: str, info: dict[str, Any]) -> bool:
    """Whether any part of a file can be read: its size is known, and a web server offers ranges."""
    if info.get("size") is None:
        return False
    return info.get("partial") is True if _is_http(url) else True


def _list_glob(
    fs: fsspec.AbstractFileSystem, path: str, url: str, config: CorpusConfig, prefix: str
) -> Listing:
    """Every file that a glob names, each as a source of its own.

    Their names begin behind the folder in front of the first wildcard.
    """
    selection = Selection(config, prefix)
    behind = len(fixed_part(path))
    listing = Listing()
    for name, is_file in _glob_local(path) if isinstance(fs, LocalFileSystem) else _glob(fs, path):
        relative = name[behind:].lstrip("/")
        if is_file:
            listing.add(_list_file(fs, name, _url_of(fs, name, url), selection, relative))
            continue
        # As in a tree: what is left out is listed.
        wanted = selection.name(relative)
        if wanted is not None:
            listing.skips.append(Skip(wanted, _not_regular(name)))
    if not listing.files and not listing.streams:
        raise InputError(f"no file matches source {url}; give another --source.")
    return listing


def _glob(fs: fsspec.AbstractFileSystem, pattern: str) -> Iterator[tuple[str, bool]]:
    """The files that a pattern names on a store, which has nothing else."""
    for name, info in sorted(fs.glob(pattern, detail=True).items()):
        # '*' matches folders as well; '**' is there for what is in them.
        if info["type"] == "file":
            yield name, True


def _glob_local(pattern: str) -> Iterator[tuple[str, bool]]:
    """Everything but folders that a pattern names, in order; false for links, pipes and the like.

    fsspec's patterns, but not its walk: that goes on where a folder may not be read, and the files
    in it would be left out without a word.
    """
    root = fixed_part(pattern) or "/"
    if not os.path.isdir(root):
        return
    levels = None if "**" in pattern else pattern[len(fixed_part(pattern)) :].count("/")
    matches = re.compile(glob_translate(pattern)).match
    found = {
        entry.path: entry.is_file(follow_symlinks=False)
        for entry, _ in _walk_local(root, "", levels)
        if matches(entry.path)
    }
    yield from sorted(found.items())


def _not_regular(path: str) -> str:
    """Why a local entry that is no file is left out."""
    return "link" if os.path.islink(path) else "not a regular file"


def _url_of(fs: fsspec.AbstractFileSystem, name: str, url: str) -> str:
    """The URL of a path found under `url`, with the rest of its chain."""
    if "::" not in url:
        return str(fs.unstrip_protocol(name))
    head, chain = url.split("::", 1)
    protocol = head.split("://", 1)[0]
    return f"{protocol}://{name}::{chain}"


def _list_tree(url: str, selection: Selection) -> Listing:
    """All files below a folder, in order of path."""
    fs, path = storage.filesystem(url)
    listing = Listing()
    if isinstance(fs, LocalFileSystem):
        # Walked by our own code: a link must be told from its target, and be listed as a skip.
        for entry, relative in _walk_local(path, ""):
            _add_local(listing, entry, selection.name(relative))
    else:
        root = path.rstrip("/")
        for name, info in fs.find(path, detail=True).items():
            wanted = selection.name(name[len(root) :].lstrip("/"))
            if wanted is not None and info["type"] == "file":
                _add_remote(listing, fs, name, _url_of(fs, name, url), wanted, info)
    # By bytes, so that the order of a listing, or a locale, changes nothing.
    listing.files.sort(key=lambda file: os.fsencode(file.path))
    return listing


def _walk_local(
    root: str, below: str, levels: int | None = None
) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Every entry below a folder that is no folder, with its relative path, `levels` folders deep.

    Links are not followed. Names that start with '.' or '_' count like any other.
    """
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            relative = f"{below}{entry.name}"
            if not entry.is_dir(follow_symlinks=False):
                yield entry, relative
            elif levels is None:
                yield from _walk_local(root, f"{relative}/")
            elif levels > 1:
                yield from _walk_local(root, f"{relative}/", levels - 1)


def _add_local(listing: Listing, entry: os.DirEntry[str], wanted: str | None) -> None:
    if wanted is None:
        return
    if entry.is_file(follow_symlinks=False):
        stat = entry.stat(follow_symlinks=False)
        state = f"mtime:{stat.st_mtime_ns}"
        listing.files.append(SourceFile(wanted, entry.path, stat.st_size, state))
    else:
        listing.skips.append(Skip(wanted, _not_regular(entry.path)))


def _add_remote(
    listing: Listing,
    fs: fsspec.AbstractFileSystem,
    name: str,
    url: str,
    wanted: str,
    info: dict[str, Any],
) -> None:
    """Add a listed file; one whose size nobody can tell is read as a stream."""
    # A web page's links come without sizes: ask for the file itself.
    if info.get("size") is None:
        info = fs.info(name)
    sized = info.get("size") is not None
    target = listing.files if sized else listing.streams
    target.append(_source_file(wanted, url, info))


def _source_file(path: str, url: str, info: dict[str, Any], within: str = "") -> SourceFile:
    """A file as its store describes it; a size that is not known counts as 0."""
    # Only a stream's size can be unknown, and there it is for the progress alone.
    return SourceFile(path, url, int(info.get("size") or 0), _state(info), within)


def _state(info: dict[str, Any]) -> str:
    """What tells that a file has changed, and its kind; "" when the store gives nothing."""
    for key in ("ETag", "etag", "LastModified", "mtime"):
        if info.get(key):
            return f"{key}:{info[key]}"
    return ""
