"""Check every byte of a published corpus version against its manifest."""

from __future__ import annotations

from pipeline import storage
from pipeline.corpora.manifest import DOCUMENTS, Corpus
from pipeline.corpora.manifest_data import FileEntry, Manifest, digest_of_documents
from pipeline.errors import DamagedError
from pipeline.progress import Progress


def verify(corpus: Corpus) -> int:
    """Read every file of a version and compare sizes, SHA-256 and the documents' fingerprint.

    Returns the bytes read. Raises DamagedError with the name of the first file that is not what it
    was published as.
    """
    entries = _entries(corpus.manifest)
    progress = Progress(f"verify {corpus.name}", sum(entry.bytes for entry in entries), "B")
    for entry in entries:
        url = storage.join(corpus.url, entry.file)
        if not storage.exists(url):
            raise DamagedError(f"{url} is missing; build the corpus again with --force.")
        if storage.sha256(url) != entry.sha256:
            raise DamagedError(
                f"{url} does not have the digest in its manifest; "
                "build the corpus again with --force."
            )
        progress.add(entry.bytes, entry.file)
    # The right bytes may still be the wrong number, or type, of tokens: a manifest can be edited.
    for split in corpus.manifest.splits:
        corpus.open_split(split)
    _check_documents(corpus)
    progress.finish(f"{len(entries)} files are what they were published as")
    return int(progress.done)


def _entries(manifest: Manifest) -> list[FileEntry]:
    """Every file that a manifest lists."""
    entries = list(manifest.files.values())
    for split in manifest.splits.values():
        for shard in split.shards:
            entries.append(shard)
            if shard.unknown is not None:
                entries.append(shard.unknown)
    return entries


def _check_documents(corpus: Corpus) -> None:
    """Compare documents.arrow with the digest in the fingerprint, which is not the file's own."""
    table = corpus.documents()
    # A document that a split cuts has several rows.
    pairs = set(zip(table["path"].to_pylist(), table["digest"].to_pylist(), strict=True))
    if digest_of_documents(pairs) != corpus.manifest.documents_sha256:
        raise DamagedError(
            f"{corpus.url}/{DOCUMENTS} is not what the fingerprint was made of; "
            "build again with --force."
        )
