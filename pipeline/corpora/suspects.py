"""Documents that do not look like text: compressed or binary files that a model would learn as
noise.

They are named, not refused: a corpus of bytes may be made of anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.corpora.documents import Document

NAMED = 5  # documents that a warning and a manifest name; the others are counted

_LOOKED_AT = 4096  # bytes of a document's beginning
_CONTROL_SHARE = 0.05  # of control characters from which on it is no text

# What a file of a kind begins with.
_BEGINNINGS = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"%PDF-": "PDF",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"\x7fELF": "a program",
    b"SQLite format 3\x00": "a database",
}
# A word may begin with BZh; in a file one of these is behind it. As a tuple: b"" is in any bytes.
_BZIP2_LEVELS = tuple(b"%d" % level for level in range(1, 10))
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# Tab, line feed, form feed, carriage return, backspace and escape are in texts.
_CONTROLS = bytes(sorted({*range(32), 127} - set(b"\t\n\v\f\r\b\x1b")))
_COMPRESSED = {"gzip", "bzip2", "xz", "zstd"}
_ARCHIVES = {"zip"}


@dataclass(frozen=True)
class Suspects:
    """The documents that do not look like text: how many, and what the first ones look like.

    `named` are (path, what it looks like) pairs, in the order of paths.
    """

    documents: int = 0
    named: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"documents": self.documents, "named": [list(pair) for pair in self.named]}

    @classmethod
    def from_json(cls, value: Any) -> Suspects:
        """Raises KeyError or TypeError for anything else."""
        count = value["documents"]
        pairs = value["named"]
        if type(count) is not int:  # not isinstance(): true is no number
            raise TypeError(f"{count!r} is not a whole number")
        are_pairs = isinstance(pairs, list) and all(
            isinstance(pair, list) and [type(text) for text in pair] == [str, str] for pair in pairs
        )
        if not are_pairs:
            raise TypeError(f"{pairs!r} are not pairs of texts")
        return cls(count, tuple((path, kind) for path, kind in pairs))

    def warning(self) -> str:
        """One line that names them and says what to do; empty when there are none."""
        if not self.documents:
            return ""
        names = ", ".join(f"{path!r} ({kind})" for path, kind in self.named)
        more = self.documents - len(self.named)
        others = f" and {more:,} more" if more else ""
        subject = "1 document does" if self.documents == 1 else f"{self.documents:,} documents do"
        return (
            f"{subject} not look like text and will be learnt as noise: {names}{others}; "
            f"{self._remedy()}."
        )

    def _remedy(self) -> str:
        path, _ = self.named[0]
        # The whole name, where there is no ending to go by.
        _, dot, ending = path.rpartition("/")[2].rpartition(".")
        remedy = f"leave them out with --exclude '{'*.' + ending if dot else path}'"
        kinds = {kind for _, kind in self.named}
        if kinds & _COMPRESSED:
            remedy += ", or unpack them with a glob: --source 'FOLDER/*.gz'"
        if kinds & _ARCHIVES:
            remedy += ", or read one archive with --source FOLDER/NAME.zip"
        return remedy


def looks_like(beginning: bytes) -> str | None:
    """What a document looks like by its first bytes; None for text, in whatever encoding."""
    for magic, kind in _BEGINNINGS.items():
        if beginning.startswith(magic):
            is_word = kind == "bzip2" and beginning[3:4] not in _BZIP2_LEVELS
            if not is_word:
                return kind
    head = beginning[:_LOOKED_AT]
    if head.startswith(_UTF_16):
        return "UTF-16"
    if b"\x00" in head:
        return "binary"
    controls = len(head) - len(head.translate(None, _CONTROLS))
    return "binary" if controls > _CONTROL_SHARE * len(head) else None


def suspects_of(documents: Iterable[Document]) -> Suspects:
    """The suspects among documents, which stand in the order of their paths."""
    found = [document for document in documents if document.suspect]
    named = tuple(
        (document.path.decode("utf-8", "replace"), document.suspect) for document in found[:NAMED]
    )
    return Suspects(len(found), named)
