"""Check every byte of a published corpus version against its manifest."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.corpora.manifest import DOCUMENTS, Corpus, digest_of_documents
from pipeline.errors import DamagedError
from pipeline.progress import Progress


def verify(corpus: Corpus) -> int:
    """Read every file of a version and compare sizes, SHA-256 and the documents' fingerprint; returns the bytes read.

    Raises DamagedError with the name of the first file that is not what it was published as.
    """
    entries: list[dict[str, Any]] = [{"file": name, **entry} for name, entry in corpus.manifest["files"].items()]
    for split in corpus.manifest["splits"].values():
        for shard in split["shards"]:
            entries += [shard, *([shard["unknown"]] if "unknown" in shard else [])]
    progress = Progress(f"verify {corpus.name}", sum(entry["bytes"] for entry in entries), "B")
    for entry in entries:
        url = storage.join(corpus.url, entry["file"])
        found = storage.sha256(url) if storage.exists(url) else None
        if found != entry["sha256"]:
            state = "is missing" if found is None else "does not have the digest in its manifest"
            raise DamagedError(f"{url} {state}; build the corpus again with --force.")
        progress.add(entry["bytes"], entry["file"])
    for split in corpus.manifest["splits"]:
        corpus.open_split(split)
    table = pa.ipc.open_file(pa.BufferReader(storage.read_bytes(storage.join(corpus.url, DOCUMENTS)))).read_all()
    documents = set(zip(table["path"].to_pylist(), table["digest"].to_pylist(), strict=True))
    if digest_of_documents(documents) != corpus.manifest["documents_sha256"]:
        raise DamagedError(f"{corpus.url}/{DOCUMENTS} is not what the fingerprint was made of; build again with --force.")
    progress.finish(f"{len(entries)} files are what they were published as")
    return int(progress.done)
