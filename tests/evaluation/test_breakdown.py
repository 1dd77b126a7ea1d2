"""The loss taken apart: sums that agree, kinds that are right, and a picture."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from pipeline.corpora.vocab import symbols_of
from pipeline.errors import InputError
from pipeline.evaluation.breakdown import Breakdown, breakdown, section
from pipeline.evaluation.places import words_of

TEXT = 'int main(void)\n{\n\treturn f("an odd word", [1, 2]);\n}\n' * 3
SYMBOLS = symbols_of(TEXT.encode(), "byte")
NATS = np.random.default_rng(1).exponential(1.0, len(TEXT))
NATS[0] = np.nan


def taken_apart(**more: Any) -> Breakdown:
    return breakdown(SYMBOLS, NATS, "byte", **more)


def kinds(result: Breakdown) -> dict[str, Any]:
    return {kind.name: kind for kind in result.kinds}


def test_own_shares_add_up_to_the_loss() -> None:
    result = taken_apart(rivals={"5-gram": NATS + 1})
    assert result.symbols == len(TEXT) - 1
    assert result.nats == pytest.approx(np.nansum(NATS))
    assert sum(kind.own for kind in result.kinds) == pytest.approx(result.nats)
    assert sum(each.nats for each in result.learning) == pytest.approx(result.nats)
    assert result.rivals["5-gram"] == pytest.approx(result.nats + result.symbols)


def test_kinds_hold_the_symbols_that_are_of_them() -> None:
    found = kinds(taken_apart())
    after = [n for n in range(1, len(TEXT)) if TEXT[n - 1] == "\n"]
    assert found["after a newline"].symbols == len(after)
    assert found["after a newline"].nats == pytest.approx(NATS[after].sum())
    assert found["after a newline"].bits == pytest.approx(NATS[after].mean() / math.log(2))
    repeated = found["repeats from the last 100"]
    assert repeated.own == repeated.nats  # nothing stands before it
    assert repeated.symbols == 2 * len(TEXT) // 3 - 7
    assert found["repeats from the last 1,000"].own == 0
    assert found["closing brackets and quotes"].symbols == 15
    assert found["after a space"].own < found["after a space"].nats


def test_rare_words_are_those_of_few_counts() -> None:
    words = words_of(SYMBOLS, "byte")
    spelled = [TEXT[a:b] for a, b in zip(words.starts, words.stops, strict=True)]
    counts = np.array([5 if word == "odd" else 6 for word in spelled])
    found = kinds(taken_apart(word_counts=counts))
    assert found["in words seen 5 times or less"].symbols == 9
    assert "in words seen 5 times or less" not in kinds(taken_apart())


def test_what_an_ngram_predicts_comes_first() -> None:
    rival = np.full(len(TEXT), 3.0)
    rival[10:20] = 0.69  # below one bit
    rival[20:30] = 0.70
    result = taken_apart(rivals={"20-gram": rival})
    first = result.kinds[0]
    assert (first.name, first.symbols) == ("likely to 20-gram", 10)
    assert first.own == pytest.approx(NATS[10:20].sum())
    assert first.rivals["20-gram"] == pytest.approx(6.9)


def test_closers_and_learning_go_by_distance() -> None:
    result = taken_apart()
    assert [(each.low, each.symbols) for each in result.closers] == [(1, 6), (10, 6), (30, 3)]
    assert [each.low for each in result.learning] == [1, 10, 30, 100]
    assert result.learning[0].nats == pytest.approx(NATS[1:10].sum())
    distances = np.arange(len(TEXT)) % 10
    afresh = taken_apart(distances=distances).learning
    # A place at distance 0 follows nothing: it is in no bin.
    assert [each.symbols for each in afresh] == [np.count_nonzero(distances)]


def test_only_what_all_models_scored_counts() -> None:
    rival = np.ones(len(TEXT))
    rival[5:9] = np.nan
    result = taken_apart(rivals={"r": rival})
    assert result.symbols == len(TEXT) - 5
    assert result.rivals["r"] == result.symbols


def test_arrays_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match=r"20-gram has 3 values for \d+ symbols"):
        taken_apart(rivals={"20-gram": np.ones(3)})
    with pytest.raises(InputError, match="nats has 2 values"):
        breakdown(SYMBOLS, NATS[:2], "byte")


def test_nothing_scored_is_nothing_lost() -> None:
    result = breakdown(SYMBOLS[:1], np.array([np.nan]), "byte")
    assert (result.symbols, result.nats) == (0, 0.0)
    assert "<svg" in section(result).plots[0]


def test_the_report_has_a_row_for_each_kind_and_bin() -> None:
    result = taken_apart(rivals={"20-gram": NATS * 2})
    shown = section(result)
    assert len(shown.table) == 1 + len(result.kinds) + len(result.closers) + len(result.learning)
    assert len({len(row) for row in shown.table}) == 1
    assert shown.table[0][-1] == "20-gram, bits"
    assert len(shown.plots) == 1
    json.dumps(result.to_json())


def test_lines_may_end_by_a_carriage_return_alone() -> None:
    symbols = np.frombuffer(b'one "inch\n\ntwo "words" there\n' * 9, np.uint8)
    nats = np.arange(len(symbols)) / 10
    returns = np.where(symbols == ord("\n"), ord("\r"), symbols).astype(np.uint8)
    assert breakdown(returns, nats, "byte") == breakdown(symbols, nats, "byte")
