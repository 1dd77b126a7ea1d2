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
from typing import Any

from pipeline import storage
from pipeline.corpora import encode, expected, history, manifest
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.layout import Layout, lay_out
from pipeline.corpora.sources import Listing, list_source, stem
from pipeline.corpora.staging import ReadUnit, plan_units, read_unit
from pipeline.corpora.vocab import Vocab, build_vocab, describe, symbols_of
from pipeline.errors import InputError
from pipeline.progress import Progress, bytes_of, log_to_stderr

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
        import ray
        import ray.data

        given = [ray.put(task) for task in tasks]  # each worker fetches its own task, not all of them

        def one(row: dict[str, Any]) -> dict[str, Any]:
            log_to_stderr()
            try:
                return {"index": row["id"], "result": json.dumps(function(ray.get(given[row["id"]]))), "error": ""}
            except InputError as error:  # as a value, so that the message arrives without the engine's traceback
                return {"index": row["id"], "result": "", "error": str(error)}

        dataset = ray.data.range(len(tasks), override_num_blocks=len(tasks))
        compute = ray.data.TaskPoolStrategy(size=min(num_workers, len(tasks))) if num_workers else None
        for row in dataset.map(one, num_cpus=1, compute=compute).iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            yield row["index"], json.loads(row["result"])

    return run


def build_corpus(
    config: CorpusConfig, root: str, run: Runner = run_here, *, force: bool = False, frozen: Vocab | None = None
) -> dict[str, Any]:
    """Build what the recipe describes, unless it is there and its sources have not changed; returns a summary.

    `frozen` is the vocabulary of the model that vocab_from names. Raises InputError for a source that is missing, cannot
    be read or decoded, or is not what the recipe expects.
    """
    began = time.monotonic()
    frozen = _frozen(config, root, frozen)
    listing = _list(config)
    state = history.source_state(config, listing, frozen)
    if not force and (corpus := _published(config, root, state)):
        return _summary(corpus, built=False, seconds=time.monotonic() - began)
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


def up_to_date(config: CorpusConfig, root: str, frozen: Vocab | None = None) -> dict[str, Any] | None:
    """The summary of the published version that the sources, as they look from outside, gave before; None to build."""
    began = time.monotonic()
    frozen = _frozen(config, root, frozen)
    corpus = _published(config, root, history.source_state(config, _list(config), frozen))
    return _summary(corpus, built=False, seconds=time.monotonic() - began) if corpus else None


def _published(config: CorpusConfig, root: str, state: str | None) -> manifest.Corpus | None:
    version = history.version_of(root, config, state)
    if not version:
        return None
    log.info("corpus %s: sources are unchanged, version %s is up to date", config.name, version)
    return manifest.open_version(storage.join(manifest.corpus_url(root, config.name), version))


def _frozen(config: CorpusConfig, root: str, vocab: Vocab | None) -> Vocab | None:
    """The vocabulary that vocab_from names: a model's, which is given, or a corpus's."""
    if vocab is None and config.vocab_from:
        vocab = manifest.open_corpus(root, config.vocab_from).vocab
    if vocab and vocab.unit != config.unit:
        raise InputError(f"vocab_from {config.vocab_from} has unit {vocab.unit}, this corpus {config.unit}; change --unit.")
    return vocab


def _list(config: CorpusConfig) -> Listing:
    whole = Listing()
    for source in config.sources:
        found = list_source(source, config)
        whole.files += found.files
        whole.streams += found.streams
        whole.skips += found.skips
        whole.driver_only |= found.driver_only
    stems = [stem(source) for source in config.sources]
    if twice := sorted({name for name in stems if stems.count(name) > 1}):
        raise InputError(f"several sources are called {', '.join(twice)}; rename one, or build two corpora.")
    if not whole.files and not whole.streams:
        raise InputError(
            f"no document under {', '.join(config.sources)} matches {config.include}; change --source or --include."
        )
    return whole


def _stage(config: CorpusConfig, listing: Listing, staging: str, run: Runner) -> list[ReadUnit]:
    """Read every source once into staging blobs."""
    units = plan_units(listing.files, listing.streams, config.chunk_bytes)
    expected.check_listing(config, listing)
    progress = Progress(f"read {config.name}", sum(unit.size for unit in units), "B")
    total = "" if listing.streams else f" of {len(listing.files):,}"
    documents, text = 0, 0
    runner = run_here if listing.driver_only else run
    for index, result in runner(lambda unit: read_unit(unit, config, staging), units):
        documents, text = documents + result["documents"], text + result["source_bytes"]
        progress.add(units[index].size, f"{documents:,}{total} documents, {bytes_of(text)} unpacked")
    progress.finish()
    return units


def _build_staged(
    config: CorpusConfig, root: str, staging: str, units: list[ReadUnit], listing: Listing,
    run: Runner, frozen: Vocab | None, force: bool,
) -> manifest.Corpus:  # fmt: skip
    """Everything after reading: vocabulary, layout, shards, manifest."""
    documents, skips = encode.gather(staging, units)
    skips = sorted([*skips, *listing.skips], key=lambda skip: (skip.path, skip.reason))
    if not sum(document.tokens for document in documents):
        raise InputError(
            f"corpus {config.name} has no text: {len(documents)} documents, {len(skips)} skipped; "
            "change --source, --include or --decoding."
        )
    separator = config.separator_text
    counts = _count(config, documents, staging, separator, run)
    vocab = frozen or build_vocab(counts, config.unit, config.min_count)
    if frozen and not frozen.has_unknown and (new := sorted(set(counts) - set(frozen.symbols))):
        raise InputError(f"vocabulary of {config.vocab_from} lacks {describe(new, config.unit)}; leave vocab_from out.")
    skipped = encode.skipped_bytes(skips)
    identity = manifest.identity(
        config.shaping(), vocab, encode.documents_digest(documents), skipped, unicodedata.unidata_version
    )
    version = manifest.fingerprint(identity)[:12]
    url = storage.join(manifest.corpus_url(root, config.name), version)
    if storage.exists(storage.join(url, manifest.MANIFEST)) and not force:
        log.info("corpus %s: the same text as version %s, already published", config.name, version)
        manifest.publish(url, manifest.open_version(url).manifest)
        return manifest.open_version(url)
    separator_tokens = len(symbols_of(separator, config.unit))
    layout = lay_out(documents, config, separator_tokens, config.shard_bytes // vocab.dtype.itemsize)
    encoded = _encode(config, layout, staging, vocab, separator, url, run)
    files = {manifest.DOCUMENTS: encode.documents_bytes(layout), manifest.SKIPPED: skipped}
    for name, data in files.items():
        storage.write_bytes(storage.join(url, name), data)
    manifest.publish(url, encode.manifest_of(config, identity, vocab, layout, documents, skips, encoded, files))
    return manifest.open_version(url)


def _encode(
    config: CorpusConfig, layout: Layout, staging: str, vocab: Vocab, separator: bytes, url: str, run: Runner
) -> list[dict[str, Any]]:
    """Write all shards; returns their manifest entries in the layout's order."""
    progress = Progress(f"encode {config.name}", sum(layout.tokens.values()), "tokens")
    encoded: list[dict[str, Any]] = [{} for _ in layout.shards]
    for index, entry in run(lambda shard: encode.encode_shard(shard, staging, vocab, separator, url), layout.shards):
        encoded[index] = entry
        progress.add(entry["tokens"], f"{sum(map(bool, encoded))} of {len(encoded)} shards")
    progress.finish()
    return encoded


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
        "corpus %s %s: %s documents, %s of text, %d symbols; tokens %s",
        corpus.name, corpus.version, f"{about['documents']:,}", bytes_of(about["bytes"]["text"]), len(corpus.vocab),
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
