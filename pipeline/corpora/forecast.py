"""What a build would do: the sources as they are now, the splits to expect, time and disk.

Nothing is written. Bad input is refused as the build refuses it.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import storage
from pipeline.corpora import build, expected, history, retention
from pipeline.corpora.bounds import check_sizes
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.interleaved import Streams, split_counts
from pipeline.corpora.look import TextLook
from pipeline.corpora.manifest import Corpus, corpus_url, open_corpus, open_version
from pipeline.corpora.sources import Listing, list_source
from pipeline.corpora.splits import SPLITS
from pipeline.corpora.survey import SourceFound, survey
from pipeline.corpora.vocab import Vocab, describe, symbols_of
from pipeline.corpora.whole import newest_whole
from pipeline.errors import InputError
from pipeline.estimates import RAY_START_S, Estimate, check_could_write, free_bytes

# What evaluation, patience and the champion rule need to tell two models apart.
FEW_VAL_TOKENS = 20_000
# English text and program code have 80 to 170 symbols. Taken where no text can be looked at: a zip
# archive on a server would have to be fetched whole.
UNSEEN_SYMBOLS = 100
# Source bytes a second of one CPU, all steps of a build together. Measured in this process on a
# Xeon with AVX-512: 47 MB/s for one large file of bytes, 26 MB/s of characters, 16 to 29 MB/s for
# the 734 files of the standard library.
BYTES_PER_S = {"byte": 30e6, "char": 25e6}
# One CPU unpacks an archive alone, whatever their number: 40 MB of text a second for xz.
UNPACKED_PER_S = 40e6
# Three rounds of Ray Data, about a second each to start.
ROUNDS_S = 3.0


@dataclass(frozen=True, kw_only=True)
class CorpusForecast:
    """What a build would find and make.

    `whole`: all text was looked at, so documents, tokens in all and vocabulary are those of the
    build; else they are extrapolated. `cut`: the splits are one text's, cut exactly there; whole
    documents and blocks meet their shares on average only. `version` is the one that is there: up
    to date when `builds` is false. `removed` are versions that --keep would remove behind the
    build, unless a model uses them. `streams` are those of an interleaved train split.
    """

    corpus: str
    unit: str
    sources: tuple[SourceFound, ...]
    documents: int
    bytes: int
    tokens: dict[str, int]
    vocab_size: int
    whole: bool
    cut: bool
    builds: bool
    version: str | None
    changes: tuple[str, ...]
    seconds: Estimate
    disk_bytes: int
    staging_bytes: int
    free_bytes: int | None
    removed: tuple[str, ...]
    warnings: tuple[str, ...]
    streams: Streams | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "sources": [source.to_json() for source in self.sources],
            "seconds": self.seconds.to_json(),
        }


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Flags of the build that no recipe holds."""

    num_workers: int = 0
    force: bool = False
    keep: int = 0


def forecast(
    config: CorpusConfig,
    root: str,
    options: BuildOptions,
    frozen: Vocab | None = None,
    models: retention.References = lambda name: {},
) -> CorpusForecast:
    """Look at the sources of a corpus, and say what a build would make of them.

    `frozen` is the vocabulary of the model that vocab_from names, `models` as retention.prune has
    it. Raises the InputErrors of the build.
    """
    current = build.up_to_date(config, root, frozen)
    listing = _listing(config)
    check_could_write(corpus_url(root, config.name))
    _check_expected(config, listing)
    found, look = survey(config)
    documents = sum(source.documents for source in found)
    is_whole = look.whole and all(source.whole for source in found)
    if is_whole:
        documents = look.documents
    builds = current is None or options.force
    newest = newest_whole(root, config.name)
    size = sum(source.bytes for source in found)
    vocab_size = _vocab_size(config, root, frozen, look, size)
    total = _text_tokens(config, size, documents, look)
    tokens, is_cut = split_tokens(config, documents, total, exact=is_whole)
    if current is not None and not options.force:
        about = open_version(current.url)
        documents = about.manifest.documents
        vocab_size = len(about.vocab)
        tokens = {name: about.tokens_in(name) for name in SPLITS}
        is_whole = True
        is_cut = True
    if not sum(tokens.values()):
        raise InputError(
            f"corpus {config.name} has no text: {documents} documents; "
            "change --source, --include or --decoding."
        )
    return CorpusForecast(
        corpus=config.name,
        unit=config.unit,
        sources=tuple(found),
        documents=documents,
        bytes=size,
        tokens=tokens,
        vocab_size=vocab_size,
        whole=is_whole,
        cut=is_cut,
        builds=builds,
        version=newest.version if newest else None,
        changes=tuple(_changes(config, listing, newest)) if builds and newest else (),
        seconds=_seconds(config, found, size, options) if builds else Estimate(1.0, "no build"),
        disk_bytes=_token_bytes(vocab_size) * sum(tokens.values()) if builds else 0,
        # Normalised text, until the version is published.
        staging_bytes=size if builds else 0,
        free_bytes=free_bytes(root),
        removed=_removed(root, config.name, options.keep, models) if builds else (),
        warnings=tuple(_warnings(config, tokens, look)),
        streams=_streams(config, tokens) if is_cut else None,
    )


def split_tokens(
    config: CorpusConfig, documents: int, total: int, *, exact: bool = True
) -> tuple[dict[str, int], bool]:
    """Tokens to expect in each split of `total`, and whether one text is cut exactly there.

    Shares of whole documents or blocks are met on average only. InputError where shares do not fit;
    a total that is not exact may be too small, so it refuses nothing.
    """
    if config.split == "interleaved":
        try:
            counts = split_counts(total, config.shares, config.streams, config.stream_seq_len)
            return counts, True
        except InputError:
            if exact:
                raise
    is_cut = config.split == "tail" or (config.split == "auto" and documents == 1)
    wanted: dict[str, int] = {}
    for name in SPLITS:
        share = getattr(config, name)
        if share == "rest":
            continue
        is_count = isinstance(share, int) and share > 0
        if is_count and not is_cut:
            raise InputError(
                f"{name} is {share} tokens, but several documents split by document; "
                "use --split tail."
            )
        wanted[name] = int(share * total) if isinstance(share, float) else share
    needed = sum(wanted.values())
    if needed > total and exact:
        raise InputError(
            f"the splits need {needed:,} tokens, the corpus has {total:,}; "
            "lower --train, --val or --test."
        )
    return {name: wanted.get(name, max(0, total - needed)) for name in SPLITS}, is_cut


def _streams(config: CorpusConfig, tokens: dict[str, int]) -> Streams | None:
    if config.split != "interleaved":
        return None
    total = sum(tokens.values())
    return Streams.of(total, config.shares, config.streams, config.stream_seq_len)


def _listing(config: CorpusConfig) -> Listing:
    whole = Listing()
    for source in config.sources:
        whole.add(list_source(source, config))
    check_sizes(whole, config)
    return whole


def _check_expected(config: CorpusConfig, listing: Listing) -> None:
    """A local file is compared with what the recipe expects; others are while they are read."""
    if all(storage.is_local(file.url) for file in listing.files):
        expected.check_listing(config, listing)


def _text_tokens(config: CorpusConfig, size: int, documents: int, look: TextLook) -> int:
    """Tokens of all text and separators, as far as the text was looked at."""
    separator = len(symbols_of(config.separator_text, config.unit))
    text = look.tokens if look.whole else round(size * look.tokens_per_byte)
    return text + separator * documents


def _vocab_size(
    config: CorpusConfig, root: str, frozen: Vocab | None, look: TextLook, size: int
) -> int:
    """Symbols of the vocabulary: the frozen one's, or what was seen, which later text can add to.

    InputError where a frozen vocabulary lacks a symbol that was seen.
    """
    if frozen is None and config.vocab_from:
        frozen = open_corpus(root, config.vocab_from).vocab
    if frozen is None:
        return look.vocab_size(look.source_bytes / max(1, size)) or UNSEEN_SYMBOLS
    lacking = sorted(set(look.counts) - set(frozen.symbols))
    if lacking and not frozen.has_unknown:
        raise InputError(
            f"vocabulary of {config.vocab_from} lacks "
            f"{describe(lacking, config.unit)}; leave vocab_from out."
        )
    return len(frozen)


def _token_bytes(vocab_size: int) -> int:
    """Bytes of one token in a shard."""
    if vocab_size <= 1 << 8:
        return 1
    return 2 if vocab_size <= 1 << 16 else 4


def _seconds(
    config: CorpusConfig, found: list[SourceFound], size: int, options: BuildOptions
) -> Estimate:
    cpus = options.num_workers or os.cpu_count() or 1
    rate = BYTES_PER_S[config.unit]
    shared = size / (rate * cpus)
    streams = [source.bytes for source in found if source.packed_bytes]
    alone = max(streams, default=0) / UNPACKED_PER_S
    seconds = RAY_START_S + ROUNDS_S + max(shared, alone)
    basis = (
        f"{RAY_START_S + ROUNDS_S:.0f} s to start Ray and its rounds, then {rate / 1e6:.0f} MB/s "
        f"a CPU, {cpus} CPUs; archives are unpacked by one at {UNPACKED_PER_S / 1e6:.0f} MB/s; "
        "fetching is not counted. Rates of one machine, measured once: a factor of 2 either way"
    )
    return Estimate(round(seconds, 1), basis)


def _changes(config: CorpusConfig, listing: Listing, newest: Corpus) -> list[str]:
    """Why the newest version is not what a build would give, as far as it shows from outside."""
    said = []
    before = newest.manifest.corpus
    now = config.shaping()
    settings = sorted(name for name in now if name in before and before[name] != now[name])
    if settings:
        said.append(f"settings changed: {', '.join(settings)}")
    if not listing.streams:
        said += _changed_documents(listing, newest)
    if not said:
        said.append("the sources do not tell from outside whether they changed, or look different")
    return said


def _changed_documents(listing: Listing, newest: Corpus) -> list[str]:
    known = {os.fsdecode(path) for path in newest.documents()["path"].to_pylist()}
    listed = {file.path for file in listing.files}
    published = storage.modified(storage.join(newest.url, "manifest.json")) or 0.0
    later = [
        file.path
        for file in listing.files
        if file.path in known and history.written_after(file, published)
    ]
    counted = (
        ("new documents", listed - known),
        # Documents that were skipped have no row, so they look new in every build.
        ("documents gone", known - listed),
        ("documents written since", set(later)),
    )
    return [f"{len(paths):,} {what}: {_some(paths)}" for what, paths in counted if paths]


def _some(paths: set[str], limit: int = 3) -> str:
    shown = ", ".join(sorted(paths)[:limit])
    return f"{shown}, ..." if len(paths) > limit else shown


def _removed(root: str, name: str, keep: int, models: retention.References) -> tuple[str, ...]:
    """Versions that would be one too many behind a new one, and are neither pinned nor used."""
    surplus = retention.versions(root, name)[keep - 1 :] if keep else []
    candidates = [version for version in surplus if not version.pinned]
    if not candidates:
        return ()
    used = {**retention.run_references(root, name), **models(name)}
    versions = [version.corpus.version for version in candidates]
    return tuple(version for version in versions if version not in used)


def _warnings(config: CorpusConfig, tokens: dict[str, int], look: TextLook) -> list[str]:
    said = []
    if tokens["val"] < FEW_VAL_TOKENS:
        said.append(
            f"about {tokens['val']:,} val tokens: below {FEW_VAL_TOKENS:,}, val_loss is noise; "
            "raise --val, or use a larger corpus"
        )
    if not look.source_bytes:
        said.append(f"no text was looked at: {UNSEEN_SYMBOLS} symbols are a guess")
    if look.undecodable and config.decoding == "skip":
        said.append(f"{look.undecodable:,} documents looked at are no UTF-8 and would be left out")
    return said
