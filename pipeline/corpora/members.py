"""Members of archives: what they are called, which are links, and which become one document.

A tree and its archive give the same documents. So names are read as the system that packed them
meant them, and a hard link in a tar is a file as any other.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.corpora.selection import Selection
from pipeline.errors import InputError

_UTF_8_FLAG = 0x800
_ENCRYPTED_FLAG = 0x1
_UNIX_SYSTEMS = (3, 19)  # Unix and macOS: there a backslash is a letter of a name
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field: version, CRC-32 of the plain name, name in UTF-8


class Names:
    """The documents' names of an archive's members; two members of one name are refused.

    A member that comes again under its own name is none of these: the last counts, as tar does.
    """

    def __init__(self, selection: Selection, url: str) -> None:
        self.selection = selection
        self.url = url
        self.members: dict[str, str] = {}  # by document

    def name(self, member: str, path: str | None = None) -> str | None:
        """A member's document, or None when the recipe leaves it out.

        `path` is the member's path, where that is not the name that the archive gives.
        """
        wanted = self.selection.name(_label(member if path is None else path))
        if wanted is None:
            return None
        # './a', '/a' and 'a' are one file for whoever unpacks the archive.
        plain = plain_name(member)
        other = self.members.setdefault(wanted, plain)
        if other != plain:
            raise InputError(
                f"members {other} and {plain} of source {self.url} both become document {wanted}; "
                "change --strip_prefix, or leave one out with --exclude."
            )
        return wanted


@dataclass(frozen=True)
class HardLink:
    """A second name of a file that stands earlier in a tar, where member `number` names it."""

    document: str
    target: str
    number: int


class HardLinks:
    """The hard links of a tar that count in the end: a tar is unpacked member by member."""

    def __init__(self) -> None:
        self._links: dict[str, HardLink] = {}  # by document
        self._targets: dict[str, str] = {}  # by member: a link to a link is one to its target

    def __bool__(self) -> bool:
        return bool(self._links)

    def __iter__(self) -> Iterator[HardLink]:
        return iter(self._links.values())

    def add_link(self, member: str, target: str, document: str | None, number: int) -> None:
        file = self._targets.get(plain_name(target), plain_name(target))
        self._targets[plain_name(member)] = file
        if document is not None:
            self._links[document] = HardLink(document, file, number)

    def add_other(self, member: str, document: str | None) -> None:
        """Take in a member that is no hard link: what had its name before is gone."""
        self._targets.pop(plain_name(member), None)
        if document is not None:
            self._links.pop(document, None)


def plain_name(member: str) -> str:
    """A member's name as whoever unpacks the archive takes it."""
    return "/".join(part for part in member.split("/") if part not in ("", "."))


def zip_path(member: zipfile.ZipInfo) -> str:
    """A zip member's path, as the system that packed it meant it.

    Python takes names without the UTF-8 flag for those of a DOS code page. On Unix they are the
    bytes of the file's name; elsewhere they are UTF-8 if they can be, since a page is only a guess.
    """
    is_unix = member.create_system in _UNIX_SYSTEMS
    path = member.filename
    if not member.flag_bits & _UTF_8_FLAG:
        raw = path.encode("cp437")
        path = _unicode_path(member.extra, raw) or _decoded(raw, is_unix=is_unix)
    return path if is_unix else path.replace("\\", "/")


def is_zip_folder(member: zipfile.ZipInfo) -> bool:
    return zip_path(member).endswith("/")


def is_encrypted(member: zipfile.ZipInfo) -> bool:
    return bool(member.flag_bits & _ENCRYPTED_FLAG)


def is_zip_link(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a symbolic link: the file type in the Unix mode, its upper 16 bits."""
    return (member.external_attr >> 28) == 0xA


def _decoded(raw: bytes, *, is_unix: bool) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "surrogateescape") if is_unix else raw.decode("cp437")


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """The name in the extra field for names in UTF-8; "" where there is none for this name."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        data = extra[4 : 4 + size]
        if kind == _UNICODE_PATH and len(data) > 5:
            (crc,) = struct.unpack_from("<L", data, 1)
            # Of a member that was renamed by a program that does not know the field.
            if crc == zlib.crc32(raw):
                return data[5:].decode("utf-8", "surrogateescape")
        extra = extra[4 + size :]
    return ""


def _label(name: str) -> str:
    """A member's name as a plain relative path.

    It is a label and no path is ever opened by it, so '..' and a leading '/' only lose their
    meaning.
    """
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))
