"""The interleaved split is char-rnn's, index for index."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig, Share
from pipeline.corpora.interleaved import Range, Streams, interleaved_ranges, split_counts
from pipeline.corpora.trace import Tracer
from pipeline.corpora.verify import verify
from pipeline.errors import InputError
from pipeline.training.lanes import LanePlan

from .conftest import build, contents, decoded, documents


def char_rnn(
    length: int, batch_size: int, seq_length: int, fractions: tuple[float, float, float]
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """util/CharSplitLMMinibatchLoader.lua, line by line, over the indices of a text instead of the
    text: the batches of train, val and test, each (batch_size, seq_length).
    """
    data = np.arange(length)
    if length % (batch_size * seq_length) != 0:
        data = data[: batch_size * seq_length * math.floor(length / (batch_size * seq_length))]
    rows = data.reshape(batch_size, -1)
    x_batches = np.split(rows, rows.shape[1] // seq_length, axis=1)
    nbatches = len(x_batches)
    ntrain = math.floor(nbatches * fractions[0])
    no_test = fractions[2] == 0
    nval = nbatches - ntrain if no_test else math.floor(nbatches * fractions[1])
    return (
        x_batches[:ntrain],
        x_batches[ntrain : ntrain + nval],
        x_batches[ntrain + nval :],
    )


def indices(ranges: list[Range], split: str) -> np.ndarray:
    own = [np.arange(low, high) for name, low, high in ranges if name == split]
    return np.concatenate(own) if own else np.arange(0)


def by_stream(batches: list[np.ndarray]) -> np.ndarray:
    """Indices of some batches in the order of the text."""
    return np.concatenate(batches, axis=1).ravel() if batches else np.arange(0)


SHARES: list[tuple[dict[str, Share], tuple[float, float, float]]] = [
    # char-rnn's default: train_frac 0.95, val_frac 0.05.
    ({"train": 0.95, "val": "rest", "test": 0.0}, (0.95, 0.05, 0)),
    ({"train": 0.9, "val": 0.05, "test": "rest"}, (0.9, 0.05, 0.05)),
    ({"train": 0.5, "val": 0.29, "test": "rest"}, (0.5, 0.29, 0.21)),
]


@given(st.integers(1, 7), st.integers(1, 9), st.integers(40, 90), st.integers(0, 62),
       st.sampled_from(SHARES))  # fmt: skip
def test_splits_are_those_of_char_rnn(
    streams: int, seq_len: int, batches: int, more: int, shares: Any
) -> None:
    ours, theirs = shares
    size = streams * seq_len
    length = size * batches + more % size
    ranges = interleaved_ranges(length, ours, streams, seq_len)
    train, val, test = char_rnn(length, streams, seq_len, theirs)
    np.testing.assert_array_equal(indices(ranges, "val"), by_stream(val))
    np.testing.assert_array_equal(indices(ranges, "test"), by_stream(test))
    # What char-rnn drops at the end of the text stands behind its train split.
    dropped = np.arange(batches * size, length)
    expected = np.concatenate([by_stream(train), dropped])
    np.testing.assert_array_equal(indices(ranges, "train"), expected)
    own = Streams.of(length, ours, streams, seq_len)
    assert own == Streams(streams, len(train) * seq_len)


def test_tiny_shakespeare_is_split_as_char_rnn_split_it() -> None:
    """446 batches of 50 streams of 50; char-rnn logs `train: 423, val: 23, test: 0`."""
    counts = split_counts(1_115_394, {"train": 0.95, "val": "rest", "test": 0}, 50, 50)
    assert counts == {"train": 423 * 2500 + 394, "val": 23 * 2500, "test": 0}


def test_known_ranges() -> None:
    """26 tokens, 2 streams in steps of 3: 4 batches, 2 tokens left over."""
    assert interleaved_ranges(26, {"train": "rest", "val": 0.25, "test": 0.25}, 2, 3) == [
        ("train", 0, 6), ("val", 6, 9), ("test", 9, 12),
        ("train", 12, 18), ("val", 18, 21), ("test", 21, 24),
        ("train", 24, 26),
    ]  # fmt: skip
    assert interleaved_ranges(26, {"train": "rest", "val": 0.25, "test": 0.25}, 1, 3) == [
        ("train", 0, 12), ("val", 12, 18), ("test", 18, 24), ("train", 24, 26),
    ]  # fmt: skip


def test_adjacent_ranges_are_one() -> None:
    assert interleaved_ranges(26, {"train": "rest", "val": 0, "test": 0.0}, 2, 3) == [
        ("train", 0, 26)
    ]
    # Val ends one stream and begins the next.
    assert interleaved_ranges(24, {"train": 0, "val": "rest", "test": 0}, 2, 3) == [("val", 0, 24)]


@given(st.integers(1, 8), st.integers(1, 8), st.integers(64, 5000), st.floats(0.1, 0.4),
       st.floats(0.1, 0.4), st.permutations(["train", "val", "test"]))  # fmt: skip
def test_every_token_is_in_one_range(
    streams: int, seq_len: int, total: int, one: float, other: float, names: list[str]
) -> None:
    given_shares: dict[str, Share] = dict(zip(names, (one, other, "rest"), strict=True))
    shares = {name: given_shares[name] for name in ("train", "val", "test")}
    try:
        ranges = interleaved_ranges(total, shares, streams, seq_len)
    except InputError:
        assert total // (streams * seq_len) < 10  # a tenth of ten batches is one
        return
    assert ranges[0].low == 0
    assert ranges[-1].high == total
    assert all(low.high == high.low and low.split != high.split for low, high in pairwise(ranges))
    counts = split_counts(total, shares, streams, seq_len)
    assert counts == {
        name: sum(high - low for split, low, high in ranges if split == name) for name in shares
    }


IN_STREAMS = "in 50 streams in steps of 50"
ADVICE = "lower --streams or --stream_seq_len, or use a larger corpus."
ADVICE_VAL = f"raise --val, {ADVICE}"


@pytest.mark.parametrize(
    ("total", "shares", "message"),
    [
        (
            2499,
            {"train": "rest", "val": 0.5, "test": 0.0},
            f"the corpus has 2,499 tokens; 50 streams in steps of 50 need 2,500: {ADVICE}",
        ),
        (
            49_999,
            {"train": "rest", "val": 0.05, "test": 0.0},
            f"val is 0.05 of 19 batches, less than one: 49,999 tokens {IN_STREAMS}; {ADVICE_VAL}",
        ),
        (
            50_000,
            {"train": "rest", "val": 0.05, "test": 7},
            "test is 7 tokens, but split 'interleaved' takes fractions; use --split tail.",
        ),
    ],
)
@pytest.mark.parametrize("function", [interleaved_ranges, split_counts, Streams.of])
def test_what_cannot_hold_is_refused(
    function: Callable[..., Any], total: int, shares: dict[str, Share], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        function(total, shares, 50, 50)
    assert str(caught.value) == message


def test_the_least_that_holds() -> None:
    assert split_counts(50_000, {"train": "rest", "val": 0.05, "test": 0.0}, 50, 50) == {
        "train": 47_500, "val": 2_500, "test": 0,
    }  # fmt: skip


def test_a_built_corpus_is_that_of_char_rnn(tmp_path: Path) -> None:
    """Shards, with cuts in the middle of shards and of chunks."""
    text = np.random.default_rng(5).integers(0, 200, 9_973).astype(np.uint8)
    source = tmp_path / "input.txt"
    source.write_bytes(text.tobytes())
    corpus = build(
        tmp_path / "root", source, split="interleaved", streams=7, stream_seq_len=11,
        train=0.9, val=0.05, test="rest", chunk_bytes=1024, shard_bytes=1024,
    )  # fmt: skip
    train, val, test = char_rnn(len(text), 7, 11, (0.9, 0.05, 0.05))
    dropped = np.arange(9_973 // 77 * 77, 9_973)
    assert decoded(corpus, "train") == text[np.append(by_stream(train), dropped)].tobytes()
    assert decoded(corpus, "val") == text[by_stream(val)].tobytes()
    assert decoded(corpus, "test") == text[by_stream(test)].tobytes()
    assert documents(corpus) == {"input.txt": text.tobytes()}
    assert corpus.manifest.streams == Streams(7, 11 * len(train))
    # Lanes that are streams read what char-rnn reads: its x and y, but for y's of held-out text.
    plan = LanePlan.over(corpus.tokens_in("train"), corpus.manifest.streams, 7, 11)
    assert plan.steps_per_epoch == len(train) - 1
    for step in range(plan.steps_per_epoch):
        batch = plan.batch(corpus.open_split("train"), range(7), 0, step)
        symbols = np.array(corpus.vocab.symbols)[batch]
        np.testing.assert_array_equal(symbols[:-1].T, text[train[step]])
        np.testing.assert_array_equal(symbols[1:].T, text[train[step] + 1])


@pytest.mark.parametrize("unit", ["byte", "char"])
def test_many_documents_come_back_whole(tmp_path: Path, unit: str) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    texts = {f"{n}.txt": f"na\u00efve {n} \u20ac\n" * (7 * n % 40) for n in range(60)}
    for name, text in texts.items():
        (folder / name).write_text(text)
    settings: dict[str, Any] = {
        "split": "interleaved", "streams": 9, "stream_seq_len": 5, "unit": unit, "val": 0.1,
        "separator": "\\n\\n", "chunk_bytes": 1024, "shard_bytes": 1024,
    }  # fmt: skip
    corpus = build(tmp_path / "root", folder, **settings)
    tracer = Tracer(corpus)
    for name, text in texts.items():
        assert tracer.document(name.encode()) == text.encode()
    assert verify(corpus)
    backwards = build_corpus(CorpusConfig(name="c", source=str(folder), **settings),
                             str(tmp_path / "other"), in_reverse)  # fmt: skip
    assert backwards.version == corpus.version
    assert contents(backwards.url) == contents(corpus.url)


def in_reverse(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    for index in reversed(range(len(tasks))):
        yield index, function(tasks[index])


def test_a_corpus_too_small_is_refused_by_the_build(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(InputError, match="the corpus has 5 tokens; 50 streams in steps of 50 need"):
        build(tmp_path / "root", tmp_path / "a.txt", split="interleaved")
