"""The size and MD5 that a recipe expects of its text.

They are of the one document that its source holds, as decompressed: so they hold however the
document is packed.
"""

from __future__ import annotations

import hashlib

from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.sources import Listing
from pipeline.corpora.streams import reading
from pipeline.errors import InputError

_READ_BYTES = 8 << 20


class Expectation:
    """Compares what is read with what the recipe expects."""

    def __init__(self, config: CorpusConfig) -> None:
        self.config = config
        self.wanted = bool(config.expect_bytes or config.expect_md5)
        # MD5 is what publishers give. It guards against the wrong file, not against an attacker.
        self.digest = hashlib.md5(usedforsecurity=False)
        self.size = 0
        self.paths: set[str] = set()  # an archive may hold more than one document

    def add(self, path: str, raw: bytes) -> None:
        """Take in the next bytes of a document."""
        if self.wanted:
            self.paths.add(path)
            self.digest.update(raw)
            self.size += len(raw)

    def check(self, url: str) -> None:
        """Raise InputError unless what came in is what was expected."""
        if not self.wanted:
            return
        if len(self.paths) != 1:
            raise InputError(
                f"{url} holds {len(self.paths)} documents; "
                "expect_bytes and expect_md5 need exactly one."
            )
        self._compare(url, "expect_bytes", self.config.expect_bytes, self.size)
        self._compare(url, "expect_md5", self.config.expect_md5, self.digest.hexdigest())

    def _compare(self, url: str, option: str, wanted: int | str, read: int | str) -> None:
        if wanted and wanted != read:
            raise InputError(
                f"{url} is not the text this recipe expects: {option} is {wanted}, found {read}. "
                "Fetch it again."
            )


def check_listing(config: CorpusConfig, listing: Listing) -> None:
    """Check a source that is one plain file, before anything is made of it.

    A stream is checked while it is read. A plain file may be read in ranges by several tasks, none
    of which sees all of it, so it is read once more here.
    """
    expectation = Expectation(config)
    if not expectation.wanted:
        return
    count = len(listing.files) + len(listing.streams)
    if count != 1:
        raise InputError(
            f"expect_bytes and expect_md5 need one document, the source holds {count}; "
            "name one, or leave them out."
        )
    for file in listing.files:
        with reading(file.url), storage.open_read(file.url) as stream:
            while piece := stream.read(_READ_BYTES):
                expectation.add(file.path, piece)
        expectation.check(file.url)
