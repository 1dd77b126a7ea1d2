"""A task of scoring documents: a group of them on the engine's lanes, a row each, a part file.

Shapes: N symbols of a document, M tokens that the model reads.
"""

from __future__ import annotations

import functools
import io
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.corpora.vocab import Symbols, Unit
from pipeline.engine.coding import SymbolCodes
from pipeline.engine.engine import Engine
from pipeline.engine.opening import open_engine
from pipeline.engine.texts import score_texts
from pipeline.errors import InputError
from pipeline.evaluation.documents_read import Document, Texts
from pipeline.evaluation.proof import any_symbols, any_text
from pipeline.model.about import Precision
from pipeline.model.artifact import ARTIFACT, check_artifact, read_files

ROWS = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("symbols", pa.int64(), nullable=False),
        pa.field("nats", pa.float64(), nullable=False),
        pa.field("bits_per_byte", pa.float64()),  # null for an empty document, as are the last four
        pa.field("unknown", pa.int64(), nullable=False),
        pa.field("span", pa.string()),
        pa.field("span_offset", pa.int64()),
        pa.field("span_nats", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Row:
    """What a model makes of one document: the columns of ROWS, as docs/formats.md explains them."""

    path: str
    split: str
    symbols: int
    nats: float
    bits_per_byte: float | None
    unknown: int
    span: str | None
    span_offset: int | None
    span_nats: float | None
    bytes: int  # the last field: behind it, the type of this name is hidden


@dataclass(frozen=True)
class Part:
    """A task: documents, where their text is, the model's folder and the digests of its files, and
    the URL of the part file.
    """

    documents: tuple[Document, ...]
    texts: Texts
    model: str
    digests: tuple[tuple[str, str], ...]
    precision: Precision
    window: int
    url: str


def score_part(part: Part) -> dict[str, int]:
    """Score the documents of a part, and publish its file."""
    engine = _engine(part.model, part.digests, part.precision)
    codes = _codes(part.model, part.digests, part.precision)
    texts = [part.texts.texts(document) for document in part.documents]
    tokens = [_tokens(_symbols(pieces, codes), codes) for pieces in texts]
    rows: list[Row | None] = [None] * len(texts)
    for index, nats in score_texts(engine, tokens):
        if not np.isfinite(nats).all():
            name = part.documents[index].path.decode(errors="replace")
            raise InputError(
                f"the model gives no numbers on {name}: its training diverged; "
                "use an earlier checkpoint."
            )
        rows[index] = _row(part, part.documents[index], texts[index], nats, codes)
        # The memory of a group is that of its text and tokens, and of what is on the lanes.
        texts[index] = []
    table = pa.Table.from_pylist([asdict(row) for row in rows if row], schema=ROWS)
    storage.write_bytes(part.url, parquet(table))
    return {"rows": len(table), "bytes": sum(row.bytes for row in rows if row)}


def parquet(table: pa.Table) -> bytes:
    """The bytes of a Parquet file, which depend on the table alone."""
    sink = io.BytesIO()
    # One chunk a column: pages are cut where chunks end.
    pq.write_table(table.combine_chunks(), sink, compression="zstd", row_group_size=1 << 17)
    return sink.getvalue()


@functools.lru_cache(maxsize=1)  # a worker's tasks are of one model
def _engine(url: str, digests: tuple[tuple[str, str], ...], precision: Precision) -> Engine:
    files = read_files(url, ARTIFACT, dict(digests))
    return open_engine(check_artifact("model", "", url, files), precision)


@functools.lru_cache(maxsize=1)
def _codes(url: str, digests: tuple[tuple[str, str], ...], precision: Precision) -> SymbolCodes:
    return SymbolCodes(_engine(url, digests, precision).writable.vocab)


def _symbols(pieces: list[bytes], codes: SymbolCodes) -> list[Symbols]:
    """The symbols of each piece. Among characters, bytes that are no UTF-8 are symbols of their
    own, which no vocabulary has: a binary file is scored, and not refused.
    """
    return [any_symbols(piece, codes.vocab.unit) for piece in pieces]


def _tokens(symbols: list[Symbols], codes: SymbolCodes) -> np.ndarray:
    """What the model reads, as scores.reading: a symbol without a token is not in its text."""
    found = codes.codes(np.concatenate(symbols))
    read = np.maximum(found, 0) if codes.vocab.has_unknown else found[found >= 0]
    return read.astype(codes.vocab.dtype)


def _row(
    part: Part, document: Document, pieces: list[bytes], nats: np.ndarray, codes: SymbolCodes
) -> Row:
    """The row of a document whose tokens but the first cost `nats` (M - 1,)."""
    symbols = _symbols(pieces, codes)
    priced, unknown = _priced(np.concatenate(symbols), nats, codes)
    size = sum(map(len, pieces))
    # Added one by one, in order: the last sum is the same on every processor.
    sums = np.concatenate([[0.0], np.cumsum(priced)])
    total = float(sums[-1])
    span: dict[str, Any] = {"span": None, "span_offset": None, "span_nats": None}
    if size:
        span = _span(part, document, symbols, sums, codes.vocab.unit)
    return Row(
        path=document.path.decode(errors="backslashreplace"),
        split=document.split,
        symbols=len(priced),
        nats=total,
        bits_per_byte=total / math.log(2) / size if size else None,
        unknown=unknown,
        bytes=size,
        **span,
    )


def _priced(symbols: Symbols, nats: np.ndarray, codes: SymbolCodes) -> tuple[np.ndarray, int]:
    """The nats (N,) of a document's symbols, as scores.stream has them, and how many are unknown.

    The first token costs the logarithm of the vocabulary.
    """
    outside = codes.codes(symbols) < 0
    unknown = int(outside.sum())
    priced = np.where(outside, codes.rule.bits * math.log(2), 0.0)
    places = np.arange(len(symbols))
    if not codes.vocab.has_unknown:
        places = np.flatnonzero(~outside)
    if len(places):
        priced[places[0]] += math.log(len(codes.vocab))
        priced[places[1:]] += nats
    return priced, unknown


def _span(
    part: Part, document: Document, symbols: list[Symbols], sums: np.ndarray, unit: Unit
) -> dict[str, Any]:
    """The most surprising span: of all of `window` symbols in a row that lie in one piece, the
    first with the highest sum. Where no piece is so long, of as many as the longest piece has.
    """
    lengths = np.array([len(own) for own in symbols])
    window = min(part.window, int(lengths.max()))
    gains = sums[window:] - sums[:-window]
    starts = np.cumsum(lengths) - lengths
    for join in starts[1:]:
        gains[max(0, join - window + 1) : join] = -np.inf
    best = int(gains.argmax())
    # The last piece that begins at or before it; an empty one begins where the next one does.
    piece = int(np.searchsorted(starts, best, side="right")) - 1
    low = best - int(starts[piece])
    prefix = any_text(symbols[piece][:low], unit)
    text = any_text(symbols[piece][low : low + window], unit)
    return {
        "span": text.decode(errors="backslashreplace"),
        "span_offset": part.texts.offset(document, piece, prefix),
        "span_nats": float(gains[best]) / window,
    }
