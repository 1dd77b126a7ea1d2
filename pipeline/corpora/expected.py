"""The size and MD5 that a recipe expects of its text: of the one document its source holds, as decompressed."""

from __future__ import annotations

import hashlib
from typing import Any

from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.sources import Listing
from pipeline.corpora.streams import reading
from pipeline.errors import InputError


class Expectation:
    """Compares what is read with what the recipe expects."""

    def __init__(self, config: CorpusConfig) -> None:
        self.config = config
        self.wanted = bool(config.expect_bytes or config.expect_md5)
        self.digest, self.size = hashlib.md5(usedforsecurity=False), 0
        self.paths: set[str] = set()

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
            raise InputError(f"{url} holds {len(self.paths)} documents; expect_bytes and expect_md5 need exactly one.")
        found: dict[str, Any] = {"expect_bytes": self.size, "expect_md5": self.digest.hexdigest()}
        for option, value in found.items():
            wanted = getattr(self.config, option)
            if wanted and wanted != value:
                raise InputError(
                    f"{url} is not the text this recipe expects: {option} is {wanted}, found {value}. Fetch it again."
                )


def check_listing(config: CorpusConfig, listing: Listing) -> None:
    """Check a source that is one plain file, before anything is made of it; a stream is checked while it is read."""
    expectation = Expectation(config)
    if not expectation.wanted:
        return
    count = len(listing.files) + len(listing.streams)
    if count != 1:
        raise InputError(
            f"expect_bytes and expect_md5 need one document, the source holds {count}; name one, or leave them out."
        )
    for file in listing.files:
        with reading(file.url), storage.open_read(file.url) as stream:
            while piece := stream.read(8 << 20):
                expectation.add(file.path, piece)
        expectation.check(file.url)
