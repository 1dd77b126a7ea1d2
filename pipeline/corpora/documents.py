"""A document as the later steps see it: where its staged text lies, and where that may be cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Packed = bytes  # under another name, since a chunk has a field of that one


@dataclass(frozen=True)
class Chunk:
    """Where a stretch of normalised text is staged. `unit` is the read unit whose blob holds it.

    `cuts` are the places in it where a block may begin, as blocks.py packs them.
    """

    unit: int
    offset: int
    bytes: int
    tokens: int
    source_offset: int
    source_bytes: int
    anchors: Packed = b""  # as text.py packs them
    cuts: Packed = b""  # as objects they would be most of a large build's memory

    @property
    def places(self) -> np.ndarray:
        """The cuts as rows of (byte, token), int64 (cuts, 2), ascending, within the chunk."""
        return np.frombuffer(self.cuts, "<i8").reshape(-1, 2)


@dataclass(frozen=True)
class Document:
    """One document that the corpus takes: its chunks in order, and what they add up to.

    `suspect` is what it looks like when it does not look like text; else it is empty.
    """

    path: bytes
    chunks: list[Chunk]
    digest: bytes
    first: int  # first symbol, -1 when empty
    suspect: str = ""

    @property
    def tokens(self) -> int:
        return sum(chunk.tokens for chunk in self.chunks)

    @property
    def text_bytes(self) -> int:
        """Bytes of its normalised text."""
        return sum(chunk.bytes for chunk in self.chunks)
