"""One part of a table of documents: what a row says, and where its span lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from pipeline import storage
from pipeline.corpora.vocab import Vocab
from pipeline.engine.coding import SymbolCodes
from pipeline.errors import InputError
from pipeline.evaluation import documents_score as module
from pipeline.evaluation.documents_read import CorpusTexts, Document, Piece
from pipeline.evaluation.documents_score import Part, parquet, score_part
from pipeline.model.artifact import check_artifact
from tests.engine.small import VOCAB, engine


@dataclass(frozen=True)
class Held(CorpusTexts):
    """Text that is in memory; an offset is the length of all in front of it."""

    pieces: tuple[bytes, ...] = ()

    def texts(self, document: Document) -> list[bytes]:
        return list(self.pieces)

    def offset(self, document: Document, piece: int, prefix: bytes) -> int:
        return 1000 * piece + len(prefix)


def row(pieces: list[bytes], nats: list[float], vocab: Vocab, window: int = 3) -> module.Row:
    document = Document(b"a\xff", "val", 0, "", tuple(Piece(0, 0) for _ in pieces))
    part = Part((document,), Held("", tuple(pieces)), "", (), "fp32", window, "")
    return module._row(part, document, pieces, np.array(nats), SymbolCodes(vocab))


def test_a_span_lies_in_one_piece() -> None:
    """The highest three in a row stand across the two pieces, and across an empty one."""
    nats = [0.0, 0.0, 0.0, 9.0, 9.0, 0.0, 1.0, 0.0]
    for pieces, piece in ([b"abcde", b"fghi"], 1), ([b"abcde", b"", b"fghi"], 2):
        found = row(pieces, nats, VOCAB)
        assert found.span == "fgh"
        assert found.span_offset == 1000 * piece
        assert found.span_nats == pytest.approx(10 / 3)
    whole = row([b"abcdefghi"], nats, VOCAB)
    assert (whole.span, whole.span_offset) == ("def", 3)


def test_of_equal_spans_the_first_is_named_and_short_pieces_have_short_ones() -> None:
    found = row([b"abababab"], [0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 0.0], VOCAB, window=2)
    assert (found.span, found.span_offset) == ("ab", 0)  # the first token costs log V
    short = row([b"a", b"bc", b"d"], [0.0, 0.0, 0.0], VOCAB)
    assert short.span is not None
    assert len(short.span) == 2


def test_symbols_outside_are_priced_as_in_plain_scores() -> None:
    found = row([b"aXb"], [0.5], VOCAB)
    assert found.unknown == 1
    escape = (32 + 8) * math.log(2)
    assert found.nats == pytest.approx(math.log(len(VOCAB)) + 0.5 + escape)
    assert found.path == "a\\xff"
    characters = Vocab("char", [None, ord("a"), ord("b")])
    found = row([b"a\xffb"], [2.0, 0.5], characters)
    assert found.nats == pytest.approx(math.log(3) + 2.5 + math.log(0x110000))
    assert (found.unknown, found.symbols, found.span) == (1, 3, "a\\xffb")


def test_nothing_but_unknown_symbols_can_be_scored() -> None:
    found = row([b"XY"], [], VOCAB)
    assert found.unknown == 2
    assert found.nats == pytest.approx(2 * (32 + 8) * math.log(2))


def test_a_model_that_diverged_is_refused_by_the_document(tmp_path: object) -> None:
    from pipeline.model.about import CorpusReference, ModelAbout
    from pipeline.model.artifact import artifact_files

    _, network = engine()
    network.head.bias.data.fill_(math.nan)
    about = ModelAbout(
        model=network.config,
        corpus=CorpusReference("texts", "0" * 12, "0" * 64),
        first_tokens=(),
        train={},
        step=1,
        metrics={},
    )
    model = check_artifact("m", "1", "memory:", artifact_files(network, VOCAB, about))
    for name, data in model.files.items():
        storage.write_bytes(storage.join(str(tmp_path), name), data)
    document = Document(b"one.c", "", 9, "", (Piece(0, 9),))
    part = Part(
        (document,),
        Held("", (b"abcabcabc",)),
        str(tmp_path),
        tuple(sorted(model.digests.items())),
        "fp32",
        32,
        storage.join(str(tmp_path), "part"),
    )
    with pytest.raises(InputError, match="are not finite"):
        score_part(part)
    assert not storage.exists(part.url)


def test_the_bytes_of_a_table_do_not_depend_on_its_chunks() -> None:
    table = pa.table({"a": list(range(100))})
    pieces = pa.concat_tables([table.slice(0, 3), table.slice(3, 50), table.slice(53)])
    assert parquet(pieces) == parquet(table)
