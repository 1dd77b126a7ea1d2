"""Documents add up what their chunks are."""

from __future__ import annotations

import numpy as np

from pipeline.corpora.documents import Chunk, Document


def test_a_document_is_as_long_as_its_chunks() -> None:
    chunks = [Chunk(0, 0, 7, 5, 0, 9), Chunk(1, 7, 3, 2, 9, 3)]
    document = Document(b"a", chunks, bytes(32), 97)
    assert (document.tokens, document.text_bytes, document.suspect) == (7, 10, "")
    assert Document(b"a", [], bytes(32), -1).tokens == 0


def test_cuts_are_packed_pairs() -> None:
    assert Chunk(0, 0, 7, 5, 0, 9).places.shape == (0, 2)
    packed = np.array([[4100, 2050], [8200, 4100]], "<i8").tobytes()
    chunk = Chunk(0, 0, 9000, 4500, 0, 9000, (), packed)
    assert chunk.places.tolist() == [[4100, 2050], [8200, 4100]]
