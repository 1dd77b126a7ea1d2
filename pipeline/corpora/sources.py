"""Where documents come from: folders, globs, files, archives and compressed streams at any fsspec URL.

`list_source` says what is there and plans the reading; `open_stream` yields the documents of one archive or compressed
stream, once, in order. Nothing is ever extracted by name: member paths are labels.
"""

from __future__ import annotations

import os
import posixpath
import re
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.errors import InputError

PYSTDLIB = "pystdlib:"
GROUP_BYTES = 32 << 20  # small files are read in groups of about this size: a task costs about 18 ms

_COMPRESSION = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
_ARCHIVES = re.compile(r"\.(?:tar(?:\.(gz|bz2|xz|zst))?|tgz|tbz2|txz|zip)$")
_SHORT_TAR = {"tgz": "gz", "tbz2": "bz2", "txz": "xz"}


@dataclass(frozen=True)
class SourceFile:
    """One file as listed: its relative path (the document's name), its URL, its size, and a token of its state.

    `state` changes when the content does (modification time or etag); "" when the store tells nothing.
    """

    path: str
    url: str
    size: int
    state: str = ""


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

    def __init__(self, config: CorpusConfig, prefix: str = "") -> None:
        self.config, self.prefix = config, prefix
        pattern = "".join("[^/]*" if c == "*" else "[^/]" if c == "?" else re.escape(c) for c in config.strip_prefix)
        self._strip = re.compile(pattern) if pattern else None

    def name(self, path: str) -> str | None:
        """The document's relative path, or None when the recipe leaves it out."""
        if self._strip and (match := self._strip.match(path)):
            path = path[match.end() :].lstrip("/")
        if not _matches(path, self.config.include) or _matches(path, self.config.exclude):
            return None
        return self.prefix + path


def _matches(path: str, patterns: list[str]) -> bool:
    base = posixpath.basename(path)
    return any(fnmatchcase(path, pattern) or fnmatchcase(base, pattern) for pattern in patterns)


def list_source(url: str, config: CorpusConfig) -> Listing:
    """Everything under one source URL, sorted by path. A source that is not there is an InputError."""
    prefix = f"{_stem(url)}/" if len(config.sources) > 1 else ""
    if url == PYSTDLIB:
        listing = _list_tree(sysconfig.get_paths()["stdlib"], Selection(config, prefix))
        listing.driver_only = True  # another host may have another Python
        return listing
    url = url if "::" in url else storage.absolute(url)
    fs, path = storage.filesystem(url)
    try:
        if _is_glob(path):
            return _list_glob(fs, path, url, config)
        if fs.isdir(path):
            return _list_tree(url, Selection(config, prefix))
        info = fs.info(path)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"source {url} does not exist; give another --source.") from None
    except Exception as error:  # every store has exceptions of its own
        raise InputError(f"cannot read source {url}: {type(error).__name__}: {error}. Check the URL and its access.") from None
    return _list_file(url, path, info, Selection(config, prefix if kind_of(path)[1] else ""))


def kind_of(path: str) -> tuple[str | None, str | None]:
    """(compression, archive format) of a path by its ending: fsspec's compression name or None; 'tar', 'zip' or None."""
    if match := _ARCHIVES.search(path):
        ending = match.group().lstrip(".")
        if ending == "zip":
            return None, "zip"
        short = _SHORT_TAR.get(ending) or match.group(1)
        return (_COMPRESSION[f".{short}"] if short else None), "tar"
    return _COMPRESSION.get(posixpath.splitext(path)[1]), None


def open_stream(source: SourceFile, selection: Selection) -> Iterator[tuple[str, IO[bytes] | Skip]]:
    """Yield (relative path, readable stream or Skip) for every wanted document of an archive or compressed file.

    Members come in archive order and each must be read before the next; a path that comes twice counts the last time.
    """
    compression, archive = kind_of(source.url)
    with fsspec.open(source.url, "rb", compression=compression) as file:
        if archive == "tar":
            yield from _tar_members(file, selection)
        elif archive == "zip":
            yield from _zip_members(file, selection)
        else:
            yield source.path, file


def _list_file(url: str, path: str, info: dict[str, Any], selection: Selection) -> Listing:
    compression, archive = kind_of(path)
    base = posixpath.basename(path.rstrip("/"))
    if compression and not archive:
        base = posixpath.splitext(base)[0]
    file = SourceFile(selection.prefix if archive else base, url, int(info.get("size") or 0), _state(info))
    if compression or archive or info.get("size") is None:
        return Listing(streams=[file])
    return Listing(files=[file])


def _list_glob(fs: fsspec.AbstractFileSystem, path: str, url: str, config: CorpusConfig) -> Listing:
    """Every file that a glob names, each treated as a source of its own, under the path behind the glob's fixed part."""
    found = fs.glob(path, detail=True)
    fixed = re.split(r"[*?\[]", path)[0].rpartition("/")[0]
    listing, selection = Listing(), Selection(config)
    for name in sorted(found):
        if found[name]["type"] != "file":
            continue
        relative = name[len(fixed) :].lstrip("/")
        one = _list_file(fs.unstrip_protocol(name) if "::" not in url else _rechained(url, name), name, found[name], selection)
        for file in one.files:
            if wanted := selection.name(relative):
                listing.files.append(SourceFile(wanted, file.url, file.size, file.state))
        for stream in one.streams:
            inside = f"{relative}/" if kind_of(name)[1] else posixpath.splitext(relative)[0]
            listing.streams.append(SourceFile(inside, stream.url, stream.size, stream.state))
    if not listing.files and not listing.streams:
        raise InputError(f"no file matches source {url}; give another --source.")
    return listing


def _rechained(url: str, name: str) -> str:
    protocol = url.split("://", 1)[0]
    return f"{protocol}://{name}::{url.split('::', 1)[1]}"


def _list_tree(url: str, selection: Selection) -> Listing:
    fs, path = storage.filesystem(url)
    listing = Listing()
    if isinstance(fs, LocalFileSystem):
        _walk_local(path, "", selection, listing)
    else:
        root = path.rstrip("/")
        for name, info in fs.find(path, detail=True).items():
            wanted = selection.name(name[len(root) :].lstrip("/"))
            if wanted is not None:
                listing.files.append(SourceFile(wanted, fs.unstrip_protocol(name), int(info["size"]), _state(info)))
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


def _tar_members(file: IO[bytes], selection: Selection) -> Iterator[tuple[str, IO[bytes] | Skip]]:
    with tarfile.open(fileobj=file, mode="r|", bufsize=1 << 20) as tar:
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
                yield wanted, stream
            else:
                yield wanted, Skip(wanted, "not a regular file")


def _zip_members(file: IO[bytes], selection: Selection) -> Iterator[tuple[str, IO[bytes] | Skip]]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            wanted = None if member.is_dir() else selection.name(_member_path(member.filename))
            if wanted is None:
                continue
            if member.flag_bits & 0x1:
                yield wanted, Skip(wanted, "encrypted", member.file_size)
                continue
            if (member.external_attr >> 28) == 0xA:
                yield wanted, Skip(wanted, "link")
                continue
            with archive.open(member) as stream:
                yield wanted, stream


def _member_path(name: str) -> str:
    """A member's name as a plain relative path: a label, so '..' and leading '/' only lose their meaning."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def _stem(url: str) -> str:
    """The last name in a URL, which tells several sources apart."""
    path = url.split("::", maxsplit=1)[0].rstrip("/:")
    return posixpath.basename(path) or path


def _is_glob(path: str) -> bool:
    return any(c in path for c in "*?[")


def _state(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "LastModified", "mtime"):
        if info.get(key):
            return f"{key}:{info[key]}"
    return ""
