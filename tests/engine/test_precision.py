"""Which precision a model is sampled in, and the text that decides it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.corpora.shards import Tokens
from pipeline.corpora.vocab import Vocab
from pipeline.engine import precision
from pipeline.engine.precision import LANES, MAY_LOSE, TOKENS, check_precision
from pipeline.model.about import PrecisionCheck
from pipeline.model.config import CELLS
from tests.engine.small import VOCAB, network


def text(size: int) -> Tokens:
    return Tokens([np.random.default_rng(3).integers(0, len(VOCAB), size, np.uint8)])


@dataclass
class Scores:
    """Stands in for engine_of: engines that give these nats, and note what they are given."""

    fp32: float
    int8: float
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    batches: list[np.ndarray] = field(default_factory=list)

    def engine_of(self, model: Any, vocab: Vocab, *, precision: str) -> Any:
        self.calls.append((model, vocab, precision))

        class Scored:
            def score(scored, tokens: np.ndarray) -> float:  # noqa: N805
                self.batches.append(tokens)
                return self.fp32 if precision == "fp32" else self.int8

        return Scored()


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Scores:
    made = Scores(2.0, 2.0)
    monkeypatch.setattr(precision, "engine_of", made.engine_of)
    return made


def test_constants() -> None:
    assert (LANES, TOKENS, MAY_LOSE) == (64, 65_536, 0.002)


# 0.002 of 1000 nats is 2 nats: on the border, and the next numbers to either side.
BORDER = 1000 + 0.002 * 1000


@pytest.mark.parametrize(
    ("fp32", "int8", "chosen"),
    [
        (2.0, 2.0, "int8"),
        (2.0, 1.5, "int8"),  # int8 may be the better by chance
        (1000.0, BORDER, "int8"),
        (1000.0, math.nextafter(BORDER, 2000), "fp32"),
        (2.0, 2.1, "fp32"),
        (math.nan, 2.0, "fp32"),
        (2.0, math.nan, "fp32"),
        (2.0, math.inf, "fp32"),
        (math.inf, 2.0, "fp32"),  # a loss of minus infinity is no gain
    ],
)
def test_int8_may_lose_two_thousandths(
    scores: Scores, fp32: float, int8: float, chosen: str
) -> None:
    scores.fp32 = fp32
    scores.int8 = int8
    check = check_precision(network(), VOCAB, text(65))
    assert (check.precision, check.tokens) == (chosen, 64)
    np.testing.assert_equal([check.nats_fp32, check.nats_int8], [fp32, int8])


def test_both_precisions_score_the_same_text(scores: Scores) -> None:
    model = network()
    check_precision(model, VOCAB, text(500))
    assert scores.calls == [(model, VOCAB, "fp32"), (model, VOCAB, "int8")]
    assert scores.batches[0] is scores.batches[1]


@pytest.mark.parametrize(
    ("size", "lanes", "length"),
    [
        (65, 1, 64),
        (128, 1, 127),
        (129, 2, 64),
        (131, 2, 65),
        (64 * 64 + 1, 64, 64),
        (64 * 65 + 1, 64, 65),  # 64 lanes at most
        (65_536, 64, 1023),
        (65_537, 64, 1024),
        (200_000, 64, 1024),  # 65,536 tokens at most
    ],
)
def test_the_text_is_read_by_lanes_of_at_least_64_tokens(
    scores: Scores, size: int, lanes: int, length: int
) -> None:
    tokens = text(size)
    check = check_precision(network(), VOCAB, tokens)
    assert check.tokens == lanes * length
    (batch, _) = scores.batches
    assert batch.shape == (length + 1, lanes)
    assert batch.dtype == np.int64
    for lane in range(lanes):
        start = lane * length
        np.testing.assert_array_equal(batch[:, lane], tokens.read(start, start + length + 1))


@pytest.mark.parametrize("size", [0, 1, 64])
def test_a_text_too_short_to_tell_gives_fp32(scores: Scores, size: int) -> None:
    assert check_precision(network(), VOCAB, text(size)) == PrecisionCheck("fp32", 0)
    assert not scores.calls


def test_a_cell_without_bounded_output_gives_fp32(
    scores: Scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CELLS, "rnn", replace(CELLS["rnn"], bounded_output=False))
    assert check_precision(network("rnn"), VOCAB, text(500)) == PrecisionCheck("fp32", 0)
    assert not scores.calls
    assert check_precision(network("gru"), VOCAB, text(500)).precision == "int8"


def test_the_nats_are_the_models() -> None:
    model = network()
    tokens = text(400)
    check = check_precision(model, VOCAB, tokens)
    assert check.tokens == 6 * 66
    stretches = [tokens.read(66 * lane, 66 * lane + 67).astype(np.int64) for lane in range(6)]
    read = torch.from_numpy(np.stack(stretches, axis=1))
    with torch.no_grad():
        logits, _ = model(read[:-1], model.initial_state(6))
    expected = functional.cross_entropy(logits.flatten(0, 1), read[1:].flatten()).item()
    assert check.nats_fp32 == pytest.approx(expected, rel=1e-5)
    assert check.nats_int8 == pytest.approx(expected, rel=1e-2)
    assert check.nats_int8 != check.nats_fp32
