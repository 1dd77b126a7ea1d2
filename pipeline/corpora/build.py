"""Build a corpus version: the Ray Data adapter, and the order of the steps.

    list -> read and stage -> gather -> count -> vocab -> lay out -> encode -> publish

Tasks are planned by the recipe, never by the number of workers, and only their results' numbers order them: any number
of workers writes the same bytes.
"""

from __future__ import annotations

import json
import logging
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pipeline import storage
from pipeline.corpora import encode, history, manifest
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.layout import lay_out
from pipeline.corpora.sources import Listing, list_source
from pipeline.corpora.staging import ReadUnit, plan_units, read_unit
from pipeline.corpora.vocab import Vocab, build_vocab, describe, symbols_of
from pipeline.errors import InputError
from pipeline.progress import Progress, human, log_to_stderr

log = logging.getLogger("unreasonable")

COUNT_BYTES = 64 << 20  # staged text that one counting task reads
LEASE_S = 24 * 3600.0

# Runs a function over tasks on some number of workers and yields (index, result) as they complete. Results are JSON values.
Runner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[tuple[int, Any]]]


def run_here(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Run tasks one after another in this process."""
    for index, task in enumerate(tasks):
        yield index, function(task)


def ray_runner(num_workers: int = 0) -> Runner:
    """Run tasks through Ray Data, one block and one CPU a task, at most `num_workers` at once (0: all CPUs)."""

    def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        import ray.data

        def one(row: dict[str, Any]) -> dict[str, Any]:
            log_to_stderr()
            try:
                return {"index": row["id"], "result": json.dumps(function(tasks[row["id"]])), "error": ""}
            except InputError as error:  # as a value, so that the message arrives without the engine's traceback
                return {"index": row["id"], "result": "", "error": str(error)}

        dataset = ray.data.range(len(tasks), override_num_blocks=len(tasks))
        compute = ray.data.TaskPoolStrategy(size=min(num_workers, len(tasks))) if num_workers else None
        for row in dataset.map(one, num_cpus=1, compute=compute).iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            yield row["index"], json.loads(row["result"])

    return run


def build_corpus(config: CorpusConfig, root: str, run: Runner = run_here, *, force: bool = False) -> dict[str, Any]:
    """Build what the recipe describes, unless it is there and its sources have not changed; returns a summary.

    Raises InputError for a source that is missing, cannot be decoded, or is not what the recipe expects.
    """
    began = time.monotonic()
    if not force and (summary := up_to_date(config, root)):
        return summary
    listing = _list(config)
    state = history.source_state(config, listing)
    frozen = manifest.open_corpus(root, config.vocab_from).vocab if config.vocab_from else None
    if frozen and frozen.unit != config.unit:
        raise InputError(f"vocab_from {config.vocab_from} has unit {frozen.unit}, this corpus {config.unit}; change --unit.")
    storage.check_writable(manifest.corpus_url(root, config.name))
    history.sweep_staging(root)
    staging = history.new_staging(root, f"{config.name}-{uuid.uuid4().hex[:8]}", LEASE_S)
    try:
        units = _stage(config, listing, staging, run)
        corpus = _build_staged(config, root, staging, units, listing, run, frozen, force)
    finally:
        storage.remove_tree(staging)
    history.record(root, config, state, corpus.version)
    log.info("corpus %s: version %s published at %s", config.name, corpus.version, corpus.url)
    return _summary(corpus, built=True, seconds=time.monotonic() - began)


def up_to_date(config: CorpusConfig, root: str) -> dict[str, Any] | None:
    """The summary of the published version that the sources, as they look from outside, gave before; None to build."""
    began = time.monotonic()
    version = history.version_of(root, config, history.source_state(config, _list(config)))
    if not version:
        return None
    corpus = manifest.open_version(storage.join(manifest.corpus_url(root, config.name), version))
    log.info("corpus %s: sources are unchanged, version %s is up to date", config.name, version)
    return _summary(corpus, built=False, seconds=time.monotonic() - began)


def _list(config: CorpusConfig) -> Listing:
    whole = Listing()
    for source in config.sources:
        found = list_source(source, config)
        whole.files += found.files
        whole.streams += found.streams
        whole.skips += found.skips
        whole.driver_only |= found.driver_only
    seen: dict[str, str] = {}
    for file in whole.files:
        if other := seen.get(file.path):
            raise InputError(f"{file.url} and {other} are both called {file.path}; rename one, or build two corpora.")
        seen[file.path] = file.url
    if not whole.files and not whole.streams:
        raise InputError(
            f"no document under {', '.join(config.sources)} matches {config.include}; change --source or --include."
        )
    return whole


def _stage(config: CorpusConfig, listing: Listing, staging: str, run: Runner) -> list[ReadUnit]:
    """Read every source once into staging blobs."""
    units = plan_units(listing.files, listing.streams, config.chunk_bytes)
    history.check_expected(config, listing)
    progress = Progress(f"read {config.name}", sum(unit.size for unit in units), "B")
    documents = 0

    def read(unit: ReadUnit) -> dict[str, Any]:
        inner = Progress(f"read {unit.files[0].url}", unit.size, "B of source text") if unit.kind == "stream" else None
        return read_unit(unit, config, staging, inner.add if inner else lambda _: None)

    runner = run_here if listing.driver_only else run
    for index, result in runner(read, units):
        documents += result["documents"]
        progress.add(units[index].size, f"{documents:,} documents")
    progress.finish(f"{documents:,} documents")
    return units


def _build_staged(
    config: CorpusConfig, root: str, staging: str, units: list[ReadUnit], listing: Listing,
    run: Runner, frozen: Vocab | None, force: bool,
) -> manifest.Corpus:  # fmt: skip
    """Everything after reading: vocabulary, layout, shards, manifest."""
    documents, skips = encode.gather(staging, [unit.number for unit in units])
    skips = sorted([*skips, *listing.skips], key=lambda skip: (skip.path, skip.reason))
    if not sum(document.tokens for document in documents):
        raise InputError(f"corpus {config.name} has no text: {len(documents)} documents, {len(skips)} skipped.")
    separator = config.separator_text
    counts = _count(config, documents, staging, separator, run)
    vocab = frozen or build_vocab(counts, config.unit, config.min_count)
    if frozen and not frozen.has_unknown and (new := sorted(set(counts) - set(frozen.symbols))):
        raise InputError(f"vocabulary of {config.vocab_from} lacks {describe(new, config.unit)}; leave vocab_from out.")
    digests = [(document.path, document.digest) for document in documents]
    shaping = config.shaping()
    mark = manifest.fingerprint(shaping, vocab, digests, [asdict(skip) for skip in skips], unicodedata.unidata_version)
    url = storage.join(manifest.corpus_url(root, config.name), mark[:12])
    if storage.exists(storage.join(url, manifest.MANIFEST)) and not force:
        log.info("corpus %s: the same text as version %s, already published", config.name, mark[:12])
        manifest.publish(url, storage.read_json(storage.join(url, manifest.MANIFEST)))
        return manifest.open_version(url)
    separator_tokens = len(symbols_of(separator, config.unit))
    layout = lay_out(documents, config, separator_tokens, config.shard_bytes // vocab.dtype.itemsize)
    progress = Progress(f"encode {config.name}", sum(layout.tokens.values()), "tokens")
    encoded: list[dict[str, Any]] = [{} for _ in layout.shards]
    for index, entry in run(lambda shard: encode.encode_shard(shard, staging, vocab, separator, url), layout.shards):
        encoded[index] = entry
        progress.add(encoded[index]["tokens"], f"shard {encoded[index]['file']}")
    progress.finish(f"{len(encoded)} shards")
    storage.write_bytes(storage.join(url, manifest.DOCUMENTS), encode.documents_bytes(layout))
    storage.write_bytes(storage.join(url, manifest.SKIPPED), encode.skipped_bytes(skips))
    manifest.publish(url, encode.manifest_of(config.name, mark, shaping, vocab, layout, documents, skips, encoded, separator))
    return manifest.open_version(url)


def _count(config: CorpusConfig, documents: list[Any], staging: str, separator: bytes, run: Runner) -> dict[int, int]:
    """Symbol counts of the whole corpus, separators included."""
    totals: dict[int, int] = {}

    def add(counts: dict[int, int], times: int = 1) -> None:
        for symbol, count in counts.items():
            totals[symbol] = totals.get(symbol, 0) + count * times

    groups = encode.chunk_groups(documents, COUNT_BYTES)
    progress = Progress(f"count {config.name}", sum(piece.bytes for group in groups for piece in group), "B")
    unit = config.unit
    for index, result in run(lambda group: list(encode.count_pieces(group, staging, unit).items()), groups):
        add(dict(result))
        progress.add(sum(piece.bytes for piece in groups[index]))
    progress.finish(f"{len(totals)} symbols")
    if separator:
        symbols = symbols_of(separator, unit)
        add({int(symbol): int((symbols == symbol).sum()) for symbol in set(symbols.tolist())}, len(documents))
    return totals


def _summary(corpus: manifest.Corpus, *, built: bool, seconds: float) -> dict[str, Any]:
    about = corpus.manifest
    tokens = {split: about["splits"][split]["tokens"] for split in about["splits"]}
    log.info(
        "corpus %s %s: %s documents, %s bytes of text, %d symbols; tokens %s",
        corpus.name, corpus.version, f"{about['documents']:,}", human(about["bytes"]["text"]), len(corpus.vocab),
        ", ".join(f"{split} {count:,}" for split, count in tokens.items()),
    )  # fmt: skip
    return {
        "corpus": corpus.name,
        "version": corpus.version,
        "url": corpus.url,
        "built": built,
        "documents": about["documents"],
        "skipped": about["skipped"],
        "bytes": about["bytes"],
        "tokens": tokens,
        "vocab_size": len(corpus.vocab),
        "seconds": round(seconds, 3),
    }
