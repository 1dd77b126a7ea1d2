"""Held-out text that nearly stands in the training split: what was planted is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.evaluation.duplicates import NearDuplicates, near_duplicates, section
from pipeline.evaluation.minhash import REACH, STRIDE, WINDOW
from pipeline.tasks import run_here
from tests.corpora.conftest import build

from .test_minhash import by_sets


def backwards(function: Any, tasks: Any) -> Any:
    return reversed(list(run_here(function, tasks)))


def lines(seed: int, count: int) -> str:
    """Lines of random digits, as no other seed has them."""
    numbers = np.random.default_rng(seed).integers(10**9, 10**10, count)
    return "\n".join(f"caf\u00e9 {number:_}" for number in numbers)


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Corpus, str, int]:
    """A corpus of characters whose val split has an edited copy of training text in its middle."""
    train = lines(1, 3000)
    copied = train[20_001:21_501]
    edited = copied[:700].replace("4_", "5_", 4) + "!" + copied[700:]
    before = lines(2, 100)
    val = before + edited + lines(3, 100)
    (tmp_path / "t.txt").write_text(train + val, encoding="utf-8")
    corpus = build(
        tmp_path, tmp_path / "t.txt", unit="char", split="tail",
        train=len(train), val="rest", test=0.0, shard_bytes=4096,
    )  # fmt: skip
    assert corpus.tokens_in("val") == len(val)
    return corpus, val, len(before)


@pytest.mark.parametrize("run", [run_here, backwards])
@pytest.mark.parametrize("task_tokens", [1 << 26, 4096])
def test_a_planted_copy_is_found_with_both_places(
    planted: tuple[Corpus, str, int], run: Any, task_tokens: int
) -> None:
    corpus, val, start = planted
    result = near_duplicates(corpus, run, task_tokens=task_tokens, planted=40)
    (stretch,) = result.stretches
    # Whole windows within the copy, and at its ends those that are mostly within it.
    assert abs(stretch.start - start) < WINDOW
    assert abs(stretch.stop - (start + 1501)) < WINDOW
    assert abs((stretch.place - 20_001) - 0) < 1501 + STRIDE
    assert (stretch.path, stretch.train_path) == ("t.txt", "t.txt")
    assert result.duplicate_bytes == len(val[stretch.start : stretch.stop].encode())
    assert result.duplicate_bytes > stretch.stop - stretch.start  # bytes, not characters
    assert result.bytes == len(val.encode())
    assert 0.1 < result.share < 0.4
    kept = result.kept()
    assert kept.sum() == len(val) - (stretch.stop - stretch.start)
    assert not kept[stretch.start]
    assert not kept[stretch.stop - 1]


def test_what_is_found_is_there(corpus: Corpus) -> None:
    """In real text, by sets: the place that is named has the share that is named."""
    result = near_duplicates(corpus, threshold=0.3, planted=0)
    train = corpus.open_split("train").read(0, corpus.tokens_in("train"))
    val = corpus.open_split("val").read(0, corpus.tokens_in("val"))
    assert result.stretches
    for stretch in result.stretches:
        region = train[max(0, stretch.place - STRIDE) : stretch.place + REACH + STRIDE]
        last = min(stretch.stop, len(val) - REACH + 1)
        starts = {*range(stretch.start, last, WINDOW), last - 1}
        shares = [by_sets(val[n : n + REACH], region) for n in starts]
        assert any(share == pytest.approx(stretch.containment) for share in shares)


def test_recall_is_measured_on_the_corpus_itself(corpus: Corpus) -> None:
    result = near_duplicates(corpus, planted=100)
    assert 80 < result.planted <= 100  # windows of few distinct shingles are none
    assert result.recall > 0.95
    assert near_duplicates(corpus, planted=100) == result


def test_what_the_search_misses_shows_in_its_recall(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recall is of what was looked for: with tasks that see half of the split, it is about half."""

    def half(function: Any, tasks: Any) -> Any:
        return run_here(function, tasks[::2])

    result = near_duplicates(corpus, half, planted=100, task_tokens=1024)
    assert 0.2 < result.recall < 0.9


def test_a_split_shorter_than_a_window_has_none(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(lines(1, 300))
    corpus = build(tmp_path, tmp_path / "t.txt", split="tail", val=200, test=0)
    result = near_duplicates(corpus, planted=5)
    assert (result.windows, result.share, result.stretches) == (0, 0.0, ())
    assert result.found == result.planted > 0
    empty = build(tmp_path, tmp_path / "t.txt", split="tail", train=100, val="rest", test=0)
    assert near_duplicates(empty).planted == 0


def test_the_report_names_share_threshold_and_recall(planted: tuple[Corpus, str, int]) -> None:
    result: NearDuplicates = near_duplicates(planted[0], planted=40)
    shown = section(result)
    assert f"of {result.planted} planted windows the search found {result.found}" in shown.lead
    assert "at least 80% of the shingles of 8" in shown.lead
    assert shown.table[1][0] == "t.txt"
    value = json.loads(json.dumps(result.to_json()))
    assert (value["window"], value["recall"]) == (WINDOW, result.recall)
    assert value["stretches"][0]["start"] == result.stretches[0].start
