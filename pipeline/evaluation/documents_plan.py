"""Which documents are scored together: groups that follow from the documents alone, each with a
digest of all that decides its part file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.engine.coding import ARITHMETIC
from pipeline.engine.engine import WIDTH
from pipeline.errors import InputError
from pipeline.evaluation.documents_read import Document
from pipeline.evaluation.proof_file import model_digest
from pipeline.model.about import Precision
from pipeline.model.artifact import ModelArtifact

FORMAT = 1  # of the table: counts every change of what a column holds
WINDOW = 32  # symbols of the most surprising span
# A group is a task, and what a killed job may lose: with 256 LSTM units in fp32, 20 s at least. Its
# text and tokens are in memory: five bytes for each of its own.
LEAST_BYTES = 2 << 20
MOST_BYTES = 32 << 20


@dataclass(frozen=True)
class Settings:
    """What decides the rows beside the documents."""

    model_digest: str
    precision: Precision
    window: int = WINDOW

    def __post_init__(self) -> None:
        if self.window < 1:
            raise InputError(f"window is {self.window}; a span has at least 1 symbol.")

    @classmethod
    def of(cls, model: ModelArtifact, precision: Precision, window: int = WINDOW) -> Settings:
        return cls(model_digest(model), precision, window)


@dataclass(frozen=True)
class Group:
    """Documents of one task, and the name of its part file."""

    documents: tuple[Document, ...]
    file: str

    @property
    def size(self) -> int:
        return sum(document.size for document in self.documents)


def plan_documents(documents: Sequence[Document], settings: Settings) -> list[Group]:
    """Documents in groups, the longest first.

    A group takes documents until it has WIDTH times its longest one, so that this one does not run
    alone when all others have ended; but at least LEAST_BYTES, and not above MOST_BYTES.
    """
    order = sorted(documents, key=lambda document: (-document.size, document.path, document.split))
    groups: list[list[Document]] = []
    size = 0
    wanted = 0
    for document in order:
        is_full = not groups or size >= wanted or size + document.size > MOST_BYTES
        if is_full:
            groups.append([])
            size = 0
            wanted = max(LEAST_BYTES, WIDTH * document.size)
        groups[-1].append(document)
        size += document.size
    return [
        Group(tuple(own), f"part-{index:05d}-{_digest(own, settings)[:16]}.parquet")
        for index, own in enumerate(groups)
    ]


def plan_digest(groups: Sequence[Group]) -> str:
    """SHA-256 over all that decides the table."""
    return hashlib.sha256("\n".join(group.file for group in groups).encode()).hexdigest()


def _digest(documents: Sequence[Document], settings: Settings) -> str:
    """SHA-256 over settings, and path, split and text of every document."""
    digest = hashlib.sha256()
    facts = [FORMAT, ARITHMETIC, settings.model_digest, settings.precision, settings.window]
    digest.update(json.dumps(facts).encode())
    for document in documents:
        known = [document.path.hex(), document.split, document.digest]
        digest.update(json.dumps(known).encode())
    return digest.hexdigest()
