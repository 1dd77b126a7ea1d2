"""Where documents come from: folders, globs, files, archives and compressed streams at any fsspec URL.

`list_source` says what is there and plans the reading; streams.py reads archives and compressed files.
"""

from __future__ import annotations

import os
import posixpath
import re
import sysconfig
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.errors import InputError

PYSTDLIB = "pystdlib:"
_COMPRESSION = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
_ARCHIVES = re.compile(r"\.(?:tar(?:\.(gz|bz2|xz|zst))?|tgz|tbz2|txz|tzst|zip)$")
_SHORT_TAR = {"tgz": "gz", "tbz2": "bz2", "txz": "xz", "tzst": "zst"}
_CHAINED_ARCHIVE = re.compile(r"(zip|tar)://(.*?)::(.+)", re.DOTALL)


@dataclass(frozen=True)
class SourceFile:
    """One file as listed: its relative path (the document's name), its URL, its size, and a token of its state.

    `state` changes when the content does (modification time or etag); "" when the store tells nothing. `within` is the
    member, folder or pattern of an archive that a chained URL such as zip://enwik8::https://... asks for.
    """

    path: str
    url: str
    size: int
    state: str = ""
    within: str = ""


@dataclass(frozen=True)
class Skip:
    """A document left out, and why."""

    path: str
    reason: str
    size: int = 0


@dataclass
class Listing:
    """What one source holds: files to read directly, streams (archives, compressed files) to read once, and skips."""

    files: list[SourceFile] = field(default_factory=list)
    streams: list[SourceFile] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    driver_only: bool = False


class Selection:
    """Which relative paths a recipe takes, and what they are called."""

    def __init__(self, config: CorpusConfig, prefix: str = "", within: str = "") -> None:
        self.config, self.prefix, self.within = config, prefix, within.strip("/")
        pattern = "".join("[^/]*" if c == "*" else "[^/]" if c == "?" else re.escape(c) for c in config.strip_prefix)
        self._strip = re.compile(pattern) if pattern else None

    def name(self, path: str) -> str | None:
        """The document's relative path, or None when the recipe leaves it out."""
        if self.within:
            inside = _inside(path, self.within)
            if inside is None:
                return None
            path = inside
        if self._strip and (match := self._strip.match(path)):
            path = path[match.end() :].lstrip("/")
        if not _matches(path, self.config.include) or _matches(path, self.config.exclude):
            return None
        return self.prefix + path


def _inside(path: str, within: str) -> str | None:
    """A member's path below the part of the archive that was asked for; None when it lies elsewhere."""
    if path == within:
        return posixpath.basename(path)
    if path.startswith(f"{within}/"):
        return path[len(within) + 1 :]
    if fnmatchcase(path, within):
        return path[len(_fixed_part(within)) :].lstrip("/")
    return None


def _matches(path: str, patterns: list[str]) -> bool:
    base = posixpath.basename(path)
    return any(fnmatchcase(path, pattern) or fnmatchcase(base, pattern) for pattern in patterns)


def list_source(url: str, config: CorpusConfig) -> Listing:
    """Everything under one source URL, sorted by path. A source that is not there is an InputError."""
    prefix = f"{stem(url)}/" if len(config.sources) > 1 else ""
    if url == PYSTDLIB:
        listing = _list_tree(sysconfig.get_paths()["stdlib"], Selection(config, prefix))
        listing.driver_only = True  # another host may have another Python
        return listing
    url = storage.absolute(url)
    try:
        if chained := _CHAINED_ARCHIVE.fullmatch(url):
            return _list_chained(chained, prefix)
        fs, path = storage.filesystem(url)
        if _is_glob(path) and not fs.exists(path):  # a file may have such a name, and an http query has a '?'
            return _list_glob(fs, path, url, config, prefix)
        if _is_folder(fs, path, url):
            return _list_tree(url, Selection(config, prefix))
        return _list_file(fs, path, url, Selection(config, prefix))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"source {url} does not exist; give another --source.") from None
    except Exception as error:  # every store has exceptions of its own
        raise InputError(f"cannot read source {url}: {type(error).__name__}: {error}. Check the URL and its access.") from None


def stem(url: str) -> str:
    """The last name in a URL, which tells several sources apart."""
    path = storage.bare(url.split("::", maxsplit=1)[0]).rstrip("/:")
    return posixpath.basename(path) or path


def _is_folder(fs: fsspec.AbstractFileSystem, path: str, url: str) -> bool:
    # isdir() of an http file fetches all of it, to look for links.
    return url.endswith("/") if _is_http(url) else bool(fs.isdir(path))


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def kind_of(path: str) -> tuple[str | None, str | None]:
    """(compression, archive format) of a path by its ending: fsspec's compression name or None; 'tar', 'zip' or None."""
    if match := _ARCHIVES.search(path):
        ending = match.group().lstrip(".")
        if ending == "zip":
            return None, "zip"
        short = _SHORT_TAR.get(ending) or match.group(1)
        return (_COMPRESSION[f".{short}"] if short else None), "tar"
    return _COMPRESSION.get(posixpath.splitext(path)[1]), None


def _list_chained(chained: re.Match[str], prefix: str) -> Listing:
    """zip://MEMBER::URL and tar://MEMBER::URL: the archive is read as a stream, and the member picked out of it."""
    kind, member, url = chained.groups()
    if kind_of(storage.bare(url))[1] != kind:
        raise InputError(f"{url} does not end as a {kind} archive does; {kind}:// cannot look into it.")
    fs, path = storage.filesystem(url)
    info = fs.info(path)
    return Listing(streams=[SourceFile(prefix, url, int(info.get("size") or 0), _state(info), member)])


def _list_file(fs: fsspec.AbstractFileSystem, path: str, url: str, selection: Selection, name: str = "") -> Listing:
    """A single file, as a document called `name` (default: its own) or, for an archive, as the folder of its members.

    Read in ranges where the store can, else as a stream.
    """
    info = fs.info(path)
    file = SourceFile(selection.prefix, url, int(info.get("size") or 0), _state(info))
    base = name or posixpath.basename(storage.bare(path).rstrip("/"))
    compression, archive = kind_of(storage.bare(path))
    if archive:
        return Listing(streams=[replace(file, path=f"{selection.prefix}{name}/" if name else selection.prefix)])
    wanted = selection.name(posixpath.splitext(base)[0] if compression else base)
    if wanted is None:
        return Listing()
    file = replace(file, path=wanted)
    in_ranges = info.get("size") is not None and (info.get("partial") is True if _is_http(url) else True)
    return Listing(streams=[file]) if compression or not in_ranges else Listing(files=[file])


def _list_glob(fs: fsspec.AbstractFileSystem, path: str, url: str, config: CorpusConfig, prefix: str) -> Listing:
    """Every file that a glob names, each treated as a source of its own, under the path behind the glob's fixed part."""
    found = fs.glob(path, detail=True)
    fixed, listing = _fixed_part(path), Listing()
    for name in sorted(found):
        if found[name]["type"] != "file":
            continue
        relative = name[len(fixed) :].lstrip("/")
        one = _list_file(fs, name, _url_of(fs, name, url), Selection(config, prefix), relative)
        listing.files += one.files
        listing.streams += one.streams
    if not listing.files and not listing.streams:
        raise InputError(f"no file matches source {url}; give another --source.")
    return listing


def _fixed_part(pattern: str) -> str:
    """The folder in front of a glob's first wildcard."""
    return re.split(r"[*?\[]", pattern)[0].rpartition("/")[0]


def _url_of(fs: fsspec.AbstractFileSystem, name: str, url: str) -> str:
    """The URL of a path found under `url`, with the rest of its chain."""
    if "::" not in url:
        return str(fs.unstrip_protocol(name))
    head, chain = url.split("::", 1)
    protocol = head.split("://", 1)[0]
    return f"{protocol}://{name}::{chain}"


def _list_tree(url: str, selection: Selection) -> Listing:
    fs, path = storage.filesystem(url)
    listing = Listing()
    if isinstance(fs, LocalFileSystem):
        _walk_local(path, "", selection, listing)
    else:
        root = path.rstrip("/")
        for name, found in fs.find(path, detail=True).items():
            wanted = selection.name(name[len(root) :].lstrip("/"))
            if wanted is not None and found["type"] == "file":
                info = found if found.get("size") is not None else fs.info(name)
                file = SourceFile(wanted, _url_of(fs, name, url), int(info.get("size") or 0), _state(info))
                (listing.files if info.get("size") is not None else listing.streams).append(file)
    listing.files.sort(key=lambda file: os.fsencode(file.path))
    return listing


def _walk_local(root: str, below: str, selection: Selection, listing: Listing) -> None:
    """Walk a local folder without following links; names that start with '.' or '_' count like any other."""
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            relative = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                _walk_local(root, f"{relative}/", selection, listing)
                continue
            wanted = selection.name(relative)
            if wanted is None:
                continue
            if entry.is_symlink():
                listing.skips.append(Skip(wanted, "link"))
            elif entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                listing.files.append(SourceFile(wanted, entry.path, stat.st_size, f"mtime:{stat.st_mtime_ns}"))
            else:
                listing.skips.append(Skip(wanted, "not a regular file"))


def _is_glob(path: str) -> bool:
    return any(c in path for c in "*?[")


def _state(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "LastModified", "mtime"):
        if info.get(key):
            return f"{key}:{info[key]}"
    return ""
