"""What scoring every document came to, as figures and as a part of a report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.evaluation.documents_rank import NEIGHBOURS
from pipeline.evaluation.section import Section

_SHOWN_SPAN = 80  # characters of a span in a report


@dataclass(frozen=True, kw_only=True)
class WorstDocument:
    """A document that stands out. Its fields are columns of the table."""

    path: str
    split: str
    bytes: int
    bits_per_byte: float
    surprise: float
    unknown: int
    span: str
    span_offset: int
    span_nats: float


@dataclass(frozen=True, kw_only=True)
class DocumentsResult:
    """A table of documents, where it lies, and the ones that belong least.

    `text` says what was scored; `digest` stands for all that decides the table, `sha256` for its
    bytes.
    """

    url: str
    model: str
    text: str
    precision: str
    window: int
    rows: int
    bytes: int
    symbols: int
    unknown: int
    bits_per_byte: float
    worst: tuple[WorstDocument, ...]
    digest: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "worst": [asdict(document) for document in self.worst]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DocumentsResult:
        worst = tuple(WorstDocument(**document) for document in value["worst"])
        return cls(**{**value, "worst": worst})


def section(result: DocumentsResult) -> Section:
    """The documents that belong least, with what is most surprising in each."""
    head = (
        "document",
        "bytes",
        "bits per byte",
        "deviations",
        "unknown",
        f"most surprising {result.window} symbols",
        "at byte",
    )
    rows = [head]
    for document in result.worst:
        name = f"{document.path} ({document.split})" if document.split else document.path
        rows.append(
            (
                name,
                f"{document.bytes:,}",
                f"{document.bits_per_byte:.3f}",
                f"{document.surprise:+.1f}",
                f"{document.unknown:,}",
                document.span[:_SHOWN_SPAN],
                f"{document.span_offset:,}",
            )
        )
    lead = (
        f"{result.rows:,} documents of {result.text}, {result.bits_per_byte:.3f} bits per byte "
        f"together, each read from an empty state. Below are those that stand out most: "
        f"deviations are robust ones (MAD) above the median of the {NEIGHBOURS} documents nearest "
        f"in length, since short documents cost more and vary more. All are in {result.url}."
    )
    return Section(title="Documents that do not belong", lead=lead, table=tuple(rows))
