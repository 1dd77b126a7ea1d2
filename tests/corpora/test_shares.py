"""What was asked of a split stands beside what it came to; too little is said in one line."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipeline.corpora.manifest_data import Manifest, SplitEntry, TextBytes
from pipeline.corpora.shares import SplitShare, shares_line, shares_of, too_little


def manifest(
    tokens: tuple[int, int, int], split: str = "block", block_bytes: int = 4096, **shares: Any
) -> Manifest:
    settings = {"train": "rest", "val": 0.05, "test": 0.05, **shares}
    return Manifest(
        format=3, corpus=settings, vocab={}, unicode="", documents_sha256="", skipped_sha256="",
        name="texts", version="v", fingerprint="f", order="hash", split=split,
        block_bytes=block_bytes, documents=2, skipped=0, bytes=TextBytes(0, 0, 0, 0, 0),
        splits={
            name: SplitEntry(count, count, ())
            for name, count in zip(("train", "val", "test"), tokens, strict=True)
        },
        files={}, first_tokens=(),
    )  # fmt: skip


def test_asked_stands_beside_got() -> None:
    found = shares_of(manifest((900, 60, 40)))
    assert found["train"].asked == pytest.approx(0.9)
    assert found == {
        "train": SplitShare(900, found["train"].asked, 0.9),
        "val": SplitShare(60, 0.05, 0.06),
        "test": SplitShare(40, 0.05, 0.04),
    }
    assert SplitShare(7, 1 / 3, 2 / 3).to_json() == {
        "tokens": 7,
        "asked": 0.333333,
        "got": 0.666667,
    }


def test_numbers_of_tokens_are_fractions_of_what_there_is() -> None:
    found = shares_of(manifest((70, 30, 0), "tail", 0, train=70, val="rest", test=0))
    assert [share.asked for share in found.values()] == [0.7, pytest.approx(0.3), 0.0]
    # More was asked than there is: the layout refuses it, a reader does not.
    over = shares_of(manifest((10, 0, 0), "tail", 0, val=20, test=0))
    assert [share.asked for share in over.values()] == [0.0, 2.0, 0.0]
    assert [share.got for share in shares_of(manifest((0, 0, 0))).values()] == [0.0, 0.0, 0.0]


def test_a_line_says_how_a_version_is_split() -> None:
    assert shares_line(manifest((90_000, 6_000, 4_000))) == (
        "split by block of 4 KiB: train 90,000 tokens (90.00%, asked 90.00%), "
        "val 6,000 tokens (6.00%, asked 5.00%), test 4,000 tokens (4.00%, asked 5.00%)"
    )
    assert shares_line(manifest((1, 0, 0), "block", 1 << 20)).startswith(
        "split by block of 1,024 K"
    )
    assert shares_line(manifest((1, 0, 0), "tail", 0)).startswith(
        "split by tail: train 1 tokens (1"
    )


def test_too_little_to_measure_on_is_said_with_the_remedy() -> None:
    # 0.15% where 5% were asked.
    assert too_little(manifest((1_639_679, 2_463, 0), "document", 0)) == (
        "the val split of texts has 2,463 tokens, 0.15% of the text where 5.00% were asked; "
        "figures on it are mostly chance below 20,000 tokens or half of what was asked: "
        "use --split block, raise --val, or give more text."
    )
    short = too_little(manifest((100_000, 5_000, 0)))
    assert short.endswith("of what was asked: raise --val, or give more text.")
    # Many tokens, but less than half of what was asked.
    assert too_little(manifest((1_000_000, 25_000, 0)))


def test_enough_is_not_warned_of() -> None:
    assert too_little(manifest((380_000, 20_000, 0))) == ""
    assert too_little(manifest((380_001, 19_999, 0)))
    half = manifest((975_000, 25_000, 0))
    assert too_little(half) == ""
    less = dataclasses.replace(half, corpus={**half.corpus, "val": 0.0501})
    assert too_little(less)


def test_who_asks_for_no_val_split_gets_no_advice() -> None:
    assert too_little(manifest((10, 0, 0), val=0.0)) == ""
    assert too_little(manifest((10, 0, 0), "tail", 0, val=0)) == ""
    assert too_little(manifest((0, 10, 0), "tail", 0, train=0, val="rest", test=0))


def test_streams_are_said() -> None:
    settings = {"streams": 50, "stream_seq_len": 20}
    line = shares_line(manifest((95, 5, 0), "interleaved", 0, **settings))
    assert line.startswith("split by the end of each of 50 streams: train 95 tokens (95.00%")
