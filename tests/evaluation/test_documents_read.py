"""Which documents a source has, and their text."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.corpora.text import packed
from pipeline.corpora.trace import Tracer
from pipeline.errors import InputError
from pipeline.evaluation.documents_read import (
    CorpusTexts,
    Document,
    Piece,
    StagedTexts,
    corpus_documents,
    staged_documents,
)
from pipeline.tasks import run_here


def test_the_pieces_of_a_corpus_are_its_text_once(corpus: Corpus) -> None:
    found = corpus_documents(corpus, ("train", "val", "test"))
    texts = CorpusTexts(corpus.url)
    tracer = Tracer(corpus)
    for path in {document.path for document in found}:
        own = [document for document in found if document.path == path]
        lengths = sum(len(b"".join(texts.texts(document))) for document in own)
        assert lengths == len(tracer.document(path)) == sum(document.size for document in own)
    assert [(d.path, d.split) for d in found] == sorted({(d.path, d.split) for d in found})
    val = corpus_documents(corpus, ("val",))
    assert val == [document for document in found if document.split == "val"]
    assert len({document.digest for document in found}) == len(found)


def test_an_offset_is_that_of_the_source(corpus: Corpus, texts: Path) -> None:
    read = CorpusTexts(corpus.url)
    for document in corpus_documents(corpus, ("val",)):
        source = (texts / document.path.decode()).read_bytes()
        for number, text in enumerate(read.texts(document)):
            at = read.offset(document, number, text[:5])
            assert source[at:].startswith(text[5:])


def test_files_archives_and_compressed_files_are_documents(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "b.c").write_bytes(b"\xef\xbb\xbfint b;")
    (source / "a.c").write_bytes(b"int a;\r\n" * 3)
    with gzip.open(tmp_path / "c.c.gz", "wb") as file:
        file.write(b"\xff\x00 packed")
    staging = str(tmp_path / "staging")
    found = staged_documents([str(source), str(tmp_path / "c.c.gz")], staging, run_here)
    texts = StagedTexts(staging)
    by_path = {document.path: texts.texts(document) for document in found}
    assert list(by_path.values()) == [[b"\xff\x00 packed"], [b"int a;\r\n" * 3], [b"int b;"]]
    assert [path.rsplit(b"/")[-1] for path in by_path] == [b"c.c", b"a.c", b"b.c"]
    marked = found[2]
    assert texts.offset(marked, 0, b"int ") == 7


def test_an_offset_behind_several_chunks_counts_from_its_own() -> None:
    pieces = (
        Piece(0, 10, 0, 0, packed(np.array([(0, 3)]))),
        Piece(50, 10, 1, 13),
        Piece(0, 5, 2, 23),
    )
    document = Document(b"", "", 25, "", pieces)
    offsets = [StagedTexts("").offset(document, 0, b"x" * n) for n in (0, 9, 10, 19, 20, 24)]
    assert offsets == [3, 12, 13, 22, 23, 27]


def test_what_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        staged_documents([str(tmp_path / "none")], str(tmp_path / "staging"), run_here)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no document at"):
        staged_documents([str(tmp_path / "empty")], str(tmp_path / "staging"), run_here)
