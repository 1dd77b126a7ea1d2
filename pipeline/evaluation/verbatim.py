"""What a model remembers: spans of its samples that stand word for word in the training split, and
the share of their n-grams that are new, beside the same for held-out text.

The samples are indexed, the split streams past in tasks: memory goes by the samples, time by the
corpus. Spans of 32 symbols and more are exact; shorter n-grams are counted by 64-bit hashes. A
symbol that the vocabulary lacks equals nothing, nor does the unknown token.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.corpora.manifest import Corpus, open_version
from pipeline.corpora.trace import Tracer
from pipeline.corpora.vocab import Vocab, symbols_of
from pipeline.errors import InputError
from pipeline.evaluation.memory import (
    LONGEST,
    Memory,
    NewShare,
    Remembered,
    Sample,
    Span,
    by_group,
)
from pipeline.evaluation.new_ngrams import NgramSet, packed, unpacked
from pipeline.evaluation.substrings import SHORTEST, SampleIndex, merged
from pipeline.tasks import Runner, run_here, watched

NGRAMS = (4, 8, 16, 24, 32, 64, 128)  # symbols
TASK_TOKENS = 1 << 26  # 3 s of searching a task, and 64 MiB of a byte corpus in memory
SHOWN = 60  # symbols of a span's text in a report


def remembered(
    corpus: Corpus,
    samples: Sequence[Sample],
    run: Runner = run_here,
    *,
    ngrams: tuple[int, ...] = NGRAMS,
    split: str = "train",
    task_tokens: int = TASK_TOKENS,
) -> Memory:
    """Look for `samples` in a split. Any number of workers gives the same.

    Raises InputError when there is nothing to look for.
    """
    if not any(sample.text for sample in samples):
        raise InputError("there is no text to look for; give samples that are not empty.")
    separator = len(corpus.vocab) + 1
    pieces = [_tokens(sample.text, corpus.vocab) for sample in samples]
    # Behind each sample a symbol that no corpus has, so that no span runs into the next one.
    ended = [np.append(piece, np.uint32(separator)) for piece in pieces]
    found = _search(corpus, np.concatenate(ended), ngrams, run, split, task_tokens)
    tracer = Tracer(corpus)
    texts = []
    start = 0
    for sample, piece in zip(samples, pieces, strict=True):
        texts.append(_of_sample(sample, start, start + len(piece), found, tracer, split))
        start += len(piece) + 1
    return Memory(
        corpus=f"{corpus.name}@{corpus.version}",
        split=split,
        tokens=corpus.tokens_in(split),
        shortest=SHORTEST,
        texts=tuple(texts),
        groups=by_group(texts),
    )


def control_of(corpus: Corpus, samples: Sequence[Sample], split: str = "val") -> list[Sample]:
    """Held-out text as samples: one for each, as long, from places spread evenly over a split.

    The last are shorter, or overlap, where the split is too short for all.
    """
    tracer = Tracer(corpus)
    tokens = corpus.tokens_in(split)
    controls = []
    for number, sample in enumerate(samples):
        length = min(tokens, len(_tokens(sample.text, corpus.vocab)))
        start = number * max(0, tokens - length) // max(1, len(samples) - 1)
        text = tracer.text(split, start, start + length)
        controls.append(Sample(name=f"{split} {start}", group=split, text=text))
    return controls


@dataclass(frozen=True)
class _Stretch:
    """A task: the samples, and starts [start, stop) of a split."""

    url: str
    split: str
    start: int
    stop: int
    text: bytes  # of uint32 tokens
    separator: int
    longest: int  # symbols of the longest sample
    ngrams: tuple[int, ...]


@dataclass(frozen=True)
class _Found:
    """What all stretches came to: spans (M, 3), and by n starts and whether they are new."""

    spans: np.ndarray
    ngrams: dict[int, tuple[np.ndarray, np.ndarray]]


def _search(
    corpus: Corpus,
    text: np.ndarray,
    ngrams: tuple[int, ...],
    run: Runner,
    split: str,
    task_tokens: int,
) -> _Found:
    """Search a split in tasks, and put their findings together."""
    separator = len(corpus.vocab) + 1
    short = tuple(n for n in ngrams if n < SHORTEST)
    ends = np.flatnonzero(text == separator)
    longest = int(np.diff(ends, prepend=-1).max())
    size = corpus.tokens_in(split)
    packed_text = text.tobytes()  # one for all tasks
    tasks = [
        _Stretch(
            corpus.url,
            split,
            start,
            min(size, start + task_tokens),
            packed_text,
            separator,
            longest,
            short,
        )
        for start in range(0, size, task_tokens)
    ]
    parts: dict[int, np.ndarray] = {}
    sets = {n: NgramSet(text, n, separator) for n in short}
    sizes = [task.stop - task.start for task in tasks]
    shown = watched(run, f"{split} of {corpus.name}, for samples", sizes)
    for index, result in shown(_search_stretch, tasks):
        parts[index] = np.array(result["spans"], np.int64).reshape(-1, 3)
        for n, bits in zip(short, result["seen"], strict=True):
            sets[n].seen |= unpacked(base64.b64decode(bits), len(sets[n].seen))
    # In the order of tasks, not of completion.
    spans = merged([parts[index] for index in sorted(parts)])
    shares = {n: (made.starts, made.new()) for n, made in sets.items()}
    for n in ngrams:
        if n >= SHORTEST:
            shares[n] = _long_ngrams(text, n, separator, spans)
    return _Found(spans, {n: shares[n] for n in ngrams})


@functools.lru_cache(maxsize=1)  # a worker's tasks are of one job: 0.4 s of building for 1 MB
def _index(text: bytes, separator: int) -> SampleIndex:
    return SampleIndex(np.frombuffer(text, np.uint32), separator)


def _search_stretch(task: _Stretch) -> dict[str, Any]:
    """The spans of one stretch, and which short n-grams it has, as JSON."""
    tokens = open_version(task.url).open_split(task.split)
    # Beyond the stretch by what a match that begins in it can reach.
    stop = min(len(tokens), task.stop + max(task.longest, SHORTEST))
    corpus = np.array(tokens.read(task.start, stop))
    limit = task.stop - task.start
    spans = _index(task.text, task.separator).spans(corpus, limit, task.start)
    seen = []
    for n in task.ngrams:
        made = NgramSet(np.frombuffer(task.text, np.uint32), n, task.separator)
        made.look_through(corpus, limit)
        seen.append(base64.b64encode(packed(made.seen)).decode())
    return {"spans": spans.tolist(), "seen": seen}


def _tokens(text: bytes, vocab: Vocab) -> np.ndarray:
    """A text as uint32 tokens; len(vocab), which no corpus has, for a symbol that is outside."""
    if vocab.unit == "char":
        text = text.decode("utf-8", "replace").encode()
    symbols = symbols_of(text, vocab.unit)
    outside = np.isin(symbols, vocab.missing(symbols))
    known = next(symbol for symbol in vocab.symbols if symbol is not None)
    tokens = vocab.encode_symbols(np.where(outside, symbols.dtype.type(known), symbols))
    return np.where(outside, len(vocab), tokens).astype(np.uint32)


def _long_ngrams(
    text: np.ndarray, n: int, separator: int, spans: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Starts of the n-grams that lie within a sample, and whether they are in no span."""
    count = max(0, len(text) - n + 1)
    apart = np.cumsum(np.concatenate([[0], text == separator]))
    starts = np.flatnonzero(apart[n:] == apart[:count])
    # A span of L symbols has n-grams at its first L - n + 1 places.
    change = np.zeros(count + 1, np.int64)
    holding = spans[spans[:, 1] >= n]
    np.add.at(change, holding[:, 0], 1)
    np.add.at(change, holding[:, 0] + holding[:, 1] - n + 1, -1)
    return starts, np.cumsum(change)[starts] == 0


def _of_sample(
    sample: Sample, start: int, stop: int, found: _Found, tracer: Tracer, split: str
) -> Remembered:
    """What was found of the sample that stands at [start, stop) of the samples' text."""
    low, high = np.searchsorted(found.spans[:, 0], [start, stop])
    spans = found.spans[low:high]
    inside = np.zeros(stop - start + 1, np.int64)
    np.add.at(inside, spans[:, 0] - start, 1)
    np.add.at(inside, spans[:, 0] + spans[:, 1] - start, -1)
    shares = []
    for n, (starts, new) in found.ngrams.items():
        first, last = np.searchsorted(starts, [start, stop])
        own = new[first:last]
        shares.append(NewShare(n=n, new=int(own.sum()), total=len(own)))
    return Remembered(
        name=sample.name,
        group=sample.group,
        symbols=stop - start,
        covered=int((np.cumsum(inside) > 0).sum()),
        ngrams=tuple(shares),
        longest=tuple(_span(row, start, tracer, split) for row in _longest(spans)),
    )


def _longest(spans: np.ndarray) -> list[np.ndarray]:
    """The longest spans, none of which overlaps a longer one that was taken."""
    taken: list[np.ndarray] = []
    for row in spans[np.argsort(-spans[:, 1], kind="stable")]:
        apart = all(row[0] >= own[0] + own[1] or own[0] >= row[0] + row[1] for own in taken)
        if apart:
            taken.append(row)
        if len(taken) == LONGEST:
            break
    return taken


def _span(row: np.ndarray, base: int, tracer: Tracer, split: str) -> Span:
    start, length, place = (int(value) for value in row)
    origin = tracer.origin(split, place)
    text = tracer.text(split, place, place + min(length, SHOWN))
    return Span(
        start=start - base,
        length=length,
        place=place,
        path=origin.path,
        offset=origin.offset,
        text=text.decode("utf-8", "replace"),
    )
