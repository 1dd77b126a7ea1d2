"""Build a corpus version: the order of the steps.

    list -> read and stage -> gather -> count -> vocab -> lay out -> encode -> publish

Tasks are planned by the recipe, never by the number of workers, and only their numbers order their
results: any number of workers writes the same bytes.
"""

from __future__ import annotations

import logging
import time
import unicodedata
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipeline import storage
from pipeline.corpora import (
    description,
    encode,
    expected,
    history,
    leases,
    manifest,
    manifest_data,
    turns,
)
from pipeline.corpora.bounds import check_sizes, check_skipped
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.documents import Document
from pipeline.corpora.gather import gather
from pipeline.corpora.layout import Layout, lay_out
from pipeline.corpora.leases import Staging
from pipeline.corpora.manifest import Corpus
from pipeline.corpora.manifest_data import Identity, Manifest, ShardEntry, TextBytes
from pipeline.corpora.shares import SplitShare, shares_line, shares_of, too_little
from pipeline.corpora.sources import Listing, Skip, list_source, stem
from pipeline.corpora.splits import rule_of
from pipeline.corpora.staging import ReadUnit, UnitResult, plan_units, read_unit
from pipeline.corpora.suspects import Suspects
from pipeline.corpora.vocab import Vocab, build_vocab, count_symbols, describe, symbols_of
from pipeline.corpora.whole import lacking, whole_version
from pipeline.errors import InputError
from pipeline.progress import Progress, bytes_of
from pipeline.tasks import Runner, run_here

log = logging.getLogger("unreasonable")

COUNT_BYTES = 64 << 20  # staged text that one counting task reads: Ray Data takes 18 ms a task


@dataclass(frozen=True)
class BuildResult:
    """What a build came to; `built` is false when a published version was up to date.

    `split` and `block_bytes` are the rule as resolved from auto.
    """

    corpus: str
    version: str
    url: str
    built: bool
    documents: int
    skipped: int
    bytes: TextBytes
    tokens: dict[str, int]
    vocab_size: int
    seconds: float
    split: str = ""
    block_bytes: int = 0
    shares: dict[str, SplitShare] = field(default_factory=dict)
    suspects: Suspects = field(default_factory=Suspects)

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "bytes": self.bytes.to_json(),
            "shares": {name: share.to_json() for name, share in self.shares.items()},
            "suspects": self.suspects.to_json(),
        }


def build_corpus(
    config: CorpusConfig,
    root: str,
    run: Runner = run_here,
    *,
    force: bool = False,
    frozen: Vocab | None = None,
) -> BuildResult:
    """Build what the recipe describes, unless it is there and its sources have not changed.

    `frozen` is the vocabulary of the model that vocab_from names. Raises InputError for a source
    that is missing, cannot be read or decoded, or is not what the recipe expects.
    """
    began = time.monotonic()
    frozen = _frozen_vocab(config, root, frozen)
    listing = _listing(config)
    state = history.source_state(config, listing, frozen)
    published = None if force else _published(config, root, state)
    if published:
        return _result(published, built=False, seconds=time.monotonic() - began)
    # A root that cannot be written is found out now, and not when all sources have been read.
    storage.check_writable(manifest.corpus_url(root, config.name))
    leases.sweep_staging(root)
    with leases.staging(root, f"{config.name}-{uuid.uuid4().hex[:8]}") as lease:
        build = _Build(config, root, lease, run, frozen, force)
        corpus = build.all_steps(listing, state)
    log.info("corpus %s: version %s published at %s", config.name, corpus.version, corpus.url)
    return _result(corpus, built=True, seconds=time.monotonic() - began)


def up_to_date(config: CorpusConfig, root: str, frozen: Vocab | None = None) -> BuildResult | None:
    """The published version that the sources gave before, if they look the same from outside.

    None when there is something to build.
    """
    began = time.monotonic()
    frozen = _frozen_vocab(config, root, frozen)
    state = history.source_state(config, _listing(config), frozen)
    corpus = _published(config, root, state)
    if corpus is None:
        return None
    return _result(corpus, built=False, seconds=time.monotonic() - began)


def _published(config: CorpusConfig, root: str, state: str | None) -> Corpus | None:
    version = history.version_of(root, config, state)
    if not version:
        return None
    corpus = whole_version(storage.join(manifest.corpus_url(root, config.name), version))
    if corpus is None:
        return None
    about = corpus.manifest
    # Versions of format 2 split whole documents, be there ever so few.
    if about.rule != rule_of(config, about.documents):
        log.info(
            "corpus %s: version %s is split by another rule, and is built again",
            config.name,
            version,
        )
        return None
    log.info("corpus %s: sources are unchanged, version %s is up to date", config.name, version)
    return corpus


def _frozen_vocab(config: CorpusConfig, root: str, vocab: Vocab | None) -> Vocab | None:
    """The vocabulary that vocab_from names: a model's, which is given, or a corpus's."""
    if vocab is None and config.vocab_from:
        vocab = manifest.open_corpus(root, config.vocab_from).vocab
    if vocab and vocab.unit != config.unit:
        raise InputError(
            f"vocab_from {config.vocab_from} has unit {vocab.unit}, this corpus {config.unit}; "
            "change --unit."
        )
    return vocab


def _listing(config: CorpusConfig) -> Listing:
    """What all sources hold. Raises InputError for nothing, and for two sources of one name."""
    whole = Listing()
    for source in config.sources:
        whole.add(list_source(source, config))
    # A source's name is in front of its documents' names, where there are several sources.
    stems = Counter(stem(source) for source in config.sources)
    repeated = sorted(name for name, count in stems.items() if count > 1)
    if repeated:
        raise InputError(
            f"several sources are called {', '.join(repeated)}; rename one, or build two corpora."
        )
    _refuse_doubles(whole)
    check_sizes(whole, config)
    if not whole.files and not whole.streams:
        raise InputError(
            f"no document under {', '.join(config.sources)} matches {config.include}; "
            "change --source or --include."
        )
    return whole


def _refuse_doubles(listing: Listing) -> None:
    """Raise InputError for two files that become one document, by both of their URLs."""
    urls: dict[str, str] = {}
    # By URL: a folder is listed in the order of its file system.
    for file in sorted(listing.files, key=lambda file: file.url):
        other = urls.setdefault(file.path, file.url)
        if other != file.url:
            raise InputError(
                f"{other} and {file.url} both become document {file.path}; "
                "change --strip_prefix, or leave one out with --exclude."
            )


@dataclass(frozen=True)
class _Build:
    """One build: what all its steps share."""

    config: CorpusConfig
    root: str
    lease: Staging
    run: Runner
    frozen: Vocab | None
    force: bool

    @property
    def staging(self) -> str:
        """The folder of the staged text: a task takes this, and not all of the build."""
        return self.lease.url

    def all_steps(self, listing: Listing, state: str | None) -> Corpus:
        """Returns the version that was published, now or by an earlier build of the same text.

        `state` is that of the sources, which is recorded with it.
        """
        units = self._stage(listing)
        documents, skips = self._gather(units, listing)
        vocab = self._vocab(documents)
        skipped = description.skipped_bytes(skips)
        identity = manifest_data.identity(
            self.config.shaping(),
            vocab,
            description.documents_digest(documents),
            skipped,
            unicodedata.unidata_version,
        )
        version = manifest_data.version_name(manifest_data.fingerprint(identity.to_json()))
        url = storage.join(manifest.corpus_url(self.root, self.config.name), version)
        found = self._claim(url)
        if found:
            log.info(
                "corpus %s: the same text as version %s, already published",
                self.config.name,
                version,
            )
            # It may be an old version whose text has come back: now it is the latest again.
            about = found.manifest
        else:
            about = self._write(url, identity, vocab, documents, skips)
        return self._publish(url, about, state)

    def _claim(self, url: str) -> Corpus | None:
        """The version at a URL, if it is whole; from here on nobody removes it, whole or not."""
        with turns.turn(self.root, self.config.name):
            self.lease.claim(url)
            return None if self.force else whole_version(url)

    def _publish(self, url: str, about: Manifest, state: str | None) -> Corpus:
        """Make a version the latest, and record its sources."""
        with turns.turn(self.root, self.config.name) as check:
            missing = lacking(url, about)
            if missing:
                raise InputError(
                    f"{storage.join(url, missing[0])} was removed or changed since it was written; "
                    "see what else works on this root, and build again."
                )
            check()
            manifest.publish(url, about)
            # From now on these sources count as built, and the next build has nothing to do.
            history.record(self.root, self.config, state, about.version)
            return manifest.open_version(url)

    def _write(
        self,
        url: str,
        identity: Identity,
        vocab: Vocab,
        documents: list[Document],
        skips: list[Skip],
    ) -> Manifest:
        """Write all files of a version but its manifest, which is returned."""
        config = self.config
        separator_tokens = len(symbols_of(config.separator_text, config.unit))
        # A shard is as large on disk for any vocabulary; a wider type means fewer tokens.
        shard_tokens = config.shard_bytes // vocab.dtype.itemsize
        layout = lay_out(documents, config, separator_tokens, shard_tokens)
        shards = self._encode(layout, vocab, url)
        files = {
            manifest.DOCUMENTS: description.documents_bytes(layout),
            manifest.SKIPPED: description.skipped_bytes(skips),
        }
        for name, data in files.items():
            storage.write_bytes(storage.join(url, name), data)
        return description.manifest_of(
            config, identity, vocab, layout, documents, skips, shards, files
        )

    def _stage(self, listing: Listing) -> list[ReadUnit]:
        """Read every source once into staging blobs."""
        config = self.config
        staging = self.staging
        units = plan_units(listing.files, listing.streams, config.chunk_bytes)
        expected.check_listing(config, listing)
        progress = Progress(f"read {config.name}", sum(unit.size for unit in units), "B")
        # Nobody knows beforehand how many documents an archive holds.
        total = "" if listing.streams else f" of {len(listing.files):,}"
        documents = 0
        unpacked = 0
        runner = run_here if listing.driver_only else self.run
        # A task's function holds what it needs and no more: Ray sends it to every worker.
        for index, value in runner(lambda unit: read_unit(unit, config, staging).to_json(), units):
            result = UnitResult.from_json(value)
            documents += result.documents
            unpacked += result.source_bytes
            note = f"{documents:,}{total} documents, {bytes_of(unpacked)} unpacked"
            progress.add(units[index].size, note)
        progress.finish()
        return units

    def _gather(self, units: list[ReadUnit], listing: Listing) -> tuple[list[Document], list[Skip]]:
        """The documents that count, and all that are left out, in the order of skipped.jsonl."""
        documents, skips = gather(self.staging, units)
        skips = sorted([*skips, *listing.skips], key=lambda skip: (skip.path, skip.reason))
        check_skipped(documents, skips, self.config)
        if not sum(document.tokens for document in documents):
            raise InputError(
                f"corpus {self.config.name} has no text: {len(documents)} documents, "
                f"{len(skips)} skipped; change --source, --include or --decoding."
            )
        return documents, skips

    def _vocab(self, documents: list[Document]) -> Vocab:
        """The frozen vocabulary, if it has all symbols of the text, or one of what is counted."""
        counts = self._count(documents)
        config = self.config
        frozen = self.frozen
        if frozen is None:
            return build_vocab(counts, config.unit, config.min_count)
        # Where there is an unknown token, it takes what a frozen vocabulary lacks.
        lacking = sorted(set(counts) - set(frozen.symbols))
        if lacking and not frozen.has_unknown:
            raise InputError(
                f"vocabulary of {config.vocab_from} lacks "
                f"{describe(lacking, config.unit)}; leave vocab_from out."
            )
        return frozen

    def _count(self, documents: list[Document]) -> dict[int, int]:
        """Symbol counts of the whole corpus, separators included."""
        unit = self.config.unit
        staging = self.staging
        groups = encode.chunk_groups(documents, COUNT_BYTES)
        sizes = [sum(piece.bytes for piece in group) for group in groups]
        progress = Progress(f"count {self.config.name}", sum(sizes), "B")
        totals: Counter[int] = Counter()
        # As pairs: keys of a JSON object would come back as text.
        for index, pairs in self.run(
            lambda group: list(encode.count_pieces(group, staging, unit).items()), groups
        ):
            totals.update(dict(pairs))
            progress.add(sizes[index])
        progress.finish(f"{len(totals)} symbols")
        # Separators are staged nowhere: every document is followed by one.
        for symbol, count in count_symbols(symbols_of(self.config.separator_text, unit)).items():
            totals[symbol] += count * len(documents)
        return dict(totals)

    def _encode(self, layout: Layout, vocab: Vocab, url: str) -> list[ShardEntry]:
        """Write all shards; returns their manifest entries in the layout's order."""
        staging = self.staging
        separator = self.config.separator_text
        total = len(layout.shards)
        progress = Progress(f"encode {self.config.name}", sum(layout.tokens.values()), "tokens")
        # Results come in the order of completion; the index says which shard's each is.
        entries: dict[int, ShardEntry] = {}
        for index, value in self.run(
            lambda shard: encode.encode_shard(shard, staging, vocab, separator, url).to_json(),
            layout.shards,
        ):
            entries[index] = ShardEntry.from_json(value)
            progress.add(entries[index].tokens, f"{len(entries)} of {total} shards")
        progress.finish()
        return [entries[index] for index in range(total)]


def _result(corpus: Corpus, *, built: bool, seconds: float) -> BuildResult:
    about = corpus.manifest
    log.info(
        "corpus %s %s: %s documents, %s of text, %d symbols; %s",
        corpus.name,
        corpus.version,
        f"{about.documents:,}",
        bytes_of(about.bytes.text),
        len(corpus.vocab),
        shares_line(about),
    )
    for warning in (too_little(about), about.suspects.warning()):
        if warning:
            log.warning("%s", warning)
    shares = shares_of(about)
    return BuildResult(
        corpus=corpus.name,
        version=corpus.version,
        url=corpus.url,
        built=built,
        documents=about.documents,
        skipped=about.skipped,
        bytes=about.bytes,
        tokens={name: share.tokens for name, share in shares.items()},
        split=about.split,
        block_bytes=about.block_bytes,
        shares=shares,
        suspects=about.suspects,
        vocab_size=len(corpus.vocab),
        seconds=round(seconds, 3),
    )
