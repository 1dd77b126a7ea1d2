"""Documents that were edited between two versions, so that text moved between their splits.

Blocks are counted from a document's beginning: what is inserted there pushes text that was in a
block of the train split into one of the val split. Appended text moves nothing.
"""

from __future__ import annotations

from typing import Any

from pipeline.corpora.manifest import Corpus
from pipeline.corpora.trace import Tracer


def moved_documents(old: Corpus, new: Corpus) -> list[bytes]:
    """Paths, sorted, of documents that may have text in `new`'s val split that `old` had in train.

    Both versions must be divided alike. A document may when it has parts in both of these splits,
    and `new`'s text of it does not begin with all of `old`'s.
    """
    before = _documents_in(old, "train")
    after = _documents_in(new, "val")
    edited = sorted(path for path, digest in after.items() if before.get(path, digest) != digest)
    if not edited:
        return []
    texts_before = Tracer(old)
    texts_after = Tracer(new)
    return [
        path
        for path in edited
        if not texts_after.document(path).startswith(texts_before.document(path))
    ]


def _documents_in(corpus: Corpus, split: str) -> dict[bytes, Any]:
    """Path and digest of the documents that have a part in a split."""
    table = corpus.documents().select(["path", "split", "digest"])
    columns = [column.to_pylist() for column in table.columns]
    return {path: digest for path, own, digest in zip(*columns, strict=True) if own == split}
