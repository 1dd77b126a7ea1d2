"""What a source may hold at most: the size of a document, what a file unpacks to, what is skipped.

A recipe may raise each. What exceeds one is named, and ends the build.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.documents import Document
from pipeline.corpora.sources import Listing, Skip
from pipeline.errors import InputError
from pipeline.progress import bytes_of

# Less than this is no danger, and what a short text of one word packs to says nothing.
FREE_BYTES = 64 << 20
# What these hold is text somewhere else, or none.
_WITHOUT_TEXT = ("link", "not a regular file")
_NAMED = 3


class Meter:
    """Counts what a packed source gives for what was read of it. Raises InputError for too much."""

    def __init__(self, config: CorpusConfig, url: str, packed: int = 0) -> None:
        self.config = config
        self.url = url
        self.packed = packed
        self.unpacked = 0  # of the file
        self.given = 0  # of its documents: a sparse member is larger than what is read for it

    def consume(self, size: int) -> None:
        self.packed += size

    def unpack(self, size: int) -> None:
        self.unpacked += size
        self._check(self.unpacked, "")

    def document(self, path: str) -> Callable[[int], None]:
        """What hears of the bytes of a document as they are read."""
        limit = self.config.max_document_bytes
        total = 0

        def add(size: int) -> None:
            nonlocal total
            total += size
            if total > limit:
                raise _too_long(f"{path} of source {self.url}", limit)
            self.given += size
            self._check(self.given, f" at document {path}")

        return add

    def _check(self, size: int, where: str) -> None:
        limit = self.config.max_expansion
        if size > FREE_BYTES and size > limit * self.packed:
            raise InputError(
                f"source {self.url} unpacks to more than max_expansion {limit} times its size: "
                f"{bytes_of(size)} from {bytes_of(self.packed)}{where}. It may be made to fill a "
                "disk; if it is not, raise --max_expansion."
            )


def check_sizes(listing: Listing, config: CorpusConfig) -> None:
    """Raise InputError for a plain file that is too large, by its name."""
    for file in listing.files:
        if file.size > config.max_document_bytes:
            raise _too_long(file.url, config.max_document_bytes)


def check_skipped(
    documents: Sequence[Document], skips: Sequence[Skip], config: CorpusConfig
) -> None:
    """Raise InputError when more documents, or more bytes, are left out than a recipe bears.

    Links and pipes do not count: no text is lost with them.
    """
    lost = [skip for skip in skips if skip.reason not in _WITHOUT_TEXT]
    taken_bytes = sum(chunk.source_bytes for document in documents for chunk in document.chunks)
    lost_bytes = sum(skip.size for skip in lost)
    of_documents = len(lost) / max(1, len(lost) + len(documents))
    of_bytes = lost_bytes / max(1, lost_bytes + taken_bytes)
    if max(of_documents, of_bytes) <= config.max_skipped_fraction:
        return
    named = "; ".join(f"{skip.path}: {skip.reason}" for skip in lost[:_NAMED])
    more = f" and {len(lost) - _NAMED:,} more" if len(lost) > _NAMED else ""
    raise InputError(
        f"{len(lost):,} of {len(lost) + len(documents):,} documents ({of_documents:.2%} of them, "
        f"{of_bytes:.2%} of the bytes) cannot be read: {named}{more}. That is more than "
        f"max_skipped_fraction {config.max_skipped_fraction:g}; mend them, leave them out with "
        "--exclude, or raise --max_skipped_fraction."
    )


def _too_long(what: str, limit: int) -> InputError:
    return InputError(
        f"{what} has more than max_document_bytes {limit:,}; raise --max_document_bytes, or leave "
        "it out with --exclude."
    )
