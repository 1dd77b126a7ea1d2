"""Scores against plain PyTorch, and the stream of nats: every token once, however it is split."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pipeline.corpora.shards import Tokens
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize
from pipeline.model.scoring import (
    EVAL_SEQ_LEN,
    IGNORED,
    ScoredBatch,
    bits_per_byte,
    bits_per_char,
    lane_bounds,
    mean_nats,
    score,
    summed_nats,
)

SYMBOLS = 6


def made(cell: Any = "lstm", layers: int = 2, embedding: int = 0) -> CharRNN:
    config = ModelConfig(
        vocab_size=SYMBOLS, cell=cell, num_layers=layers, hidden_size=5, embedding_size=embedding
    )
    network = CharRNN(config)
    initialize(network, 1)
    return network


def text(size: int) -> Tokens:
    """Random tokens in two shards."""
    tokens = np.random.default_rng(size).integers(0, SYMBOLS, size, np.uint8)
    return Tokens([tokens[: size // 3], tokens[size // 3 :]])


def plain_nats(network: CharRNN, tokens: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Nats of tokens start + 1 to stop, read in one go from a zero state."""
    read = torch.from_numpy(tokens[start : stop + 1].astype(np.int64)).unsqueeze(1)
    with torch.no_grad():
        logits, _ = network(read[:-1], network.initial_state(1))
        return functional.cross_entropy(logits[:, 0], read[1:, 0], reduction="none").numpy()


def by_position(batches: list[ScoredBatch], size: int) -> np.ndarray:
    """The nats of every token of a text; fails where one is scored twice."""
    nats = np.full(size, np.nan)
    for batch in batches:
        scored = batch.positions >= 0
        assert np.isnan(nats[batch.positions[scored]]).all()
        nats[batch.positions[scored]] = batch.nats.numpy()[scored]
    return nats


def test_bits_are_nats_by_the_logarithm_of_two() -> None:
    assert bits_per_char(math.log(2)) == 1.0
    assert bits_per_char(0.0) == 0.0
    assert bits_per_char(3.0) == 3.0 / math.log(2)


def test_bits_per_byte_count_the_texts_bytes() -> None:
    assert bits_per_byte(math.log(2), 6, 3) == 2.0
    assert bits_per_byte(math.log(2), 6, 12) == 0.5
    assert bits_per_byte(2 * math.log(2), 1, 1) == 2.0
    # An empty text has no bytes to divide by.
    assert bits_per_byte(math.log(2), 3, 0) == 3.0


def test_constants() -> None:
    assert IGNORED == -100
    assert EVAL_SEQ_LEN == 128


@pytest.mark.parametrize(
    ("size", "lanes", "bounds"),
    [
        (1, 4, [0, 0]),
        (2, 4, [0, 1]),
        (64, 1, [0, 63]),
        (128, 2, [0, 127]),  # 127 predicted: too few for two lanes of 64
        (129, 2, [0, 64, 128]),
        (131, 2, [0, 65, 130]),
        (194, 3, [0, 64, 128, 193]),
        (1001, 4, [0, 250, 500, 750, 1000]),
        (1001, 0, [0, 1000]),
    ],
)
def test_bounds(size: int, lanes: int, bounds: list[int]) -> None:
    assert lane_bounds(size, lanes) == bounds


@given(st.integers(2, 5000), st.integers(1, 50))
def test_evaluation_predicts_every_token_but_the_first_once(size: int, lanes: int) -> None:
    bounds = lane_bounds(size, lanes)
    assert bounds[0] == 0
    assert bounds[-1] == size - 1
    assert bounds == sorted(bounds)
    assert len(bounds) - 1 <= max(1, min(lanes, size // 64))
    lengths = np.diff(bounds)
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(("size", "lanes"), [(2, 1), (65, 1), (129, 1), (130, 1), (700, 3)])
def test_nats_are_plain_cross_entropy(cell: str, size: int, lanes: int) -> None:
    network = made(cell)
    tokens = text(size)
    bounds = lane_bounds(size, lanes)
    assert len(bounds) == lanes + 1
    nats = by_position(list(score(network, tokens, bounds)), size)
    whole = tokens.read(0, size)
    stretches = [plain_nats(network, whole, start, stop) for start, stop in pairwise(bounds)]
    assert np.isnan(nats[0])  # nothing predicts the first token
    np.testing.assert_allclose(nats[1:], np.concatenate(stretches), rtol=1e-5, atol=1e-6)


def test_lanes_of_any_length_are_read_128_tokens_at_a_time() -> None:
    network = made()
    tokens = text(400)
    bounds = [0, 300, 310, 399]
    batches = list(score(network, tokens, bounds))
    shapes = [batch.positions.shape for batch in batches]
    assert shapes == [(128, 3), (128, 3), (44, 3)]
    assert [tuple(batch.nats.shape) for batch in batches] == shapes
    # Lane 1 ends after 10 tokens, lane 2 after 89, lane 0 goes on: 300 tokens.
    first, second, third = (batch.positions for batch in batches)
    np.testing.assert_array_equal(first[:, 0], np.arange(1, 129))
    np.testing.assert_array_equal(first[:10, 1], np.arange(301, 311))
    np.testing.assert_array_equal(first[10:, 1], -1)
    np.testing.assert_array_equal(first[:89, 2], np.arange(311, 400))
    np.testing.assert_array_equal(first[89:, 2], -1)
    np.testing.assert_array_equal(second[:, 0], np.arange(129, 257))
    np.testing.assert_array_equal(third[:, 0], np.arange(257, 301))
    assert (second[:, 1:] == -1).all()
    assert (third[:, 1:] == -1).all()
    for batch in batches:
        nats = batch.nats.numpy()
        assert (nats[batch.positions < 0] == 0).all()
        assert (nats[batch.positions >= 0] > 0).all()
    whole = by_position(batches, 400)
    expected = [plain_nats(network, tokens.read(0, 400), *pair) for pair in ((0, 300), (300, 310))]
    np.testing.assert_allclose(whole[1:311], np.concatenate(expected), rtol=1e-5, atol=1e-6)


@given(st.integers(129, 900), st.integers(1, 6), st.data())
@settings(max_examples=20, deadline=None)
def test_the_sum_over_any_split_of_the_lanes_is_the_whole(
    size: int, lanes: int, data: st.DataObject
) -> None:
    network = made(layers=1)
    tokens = text(size)
    bounds = lane_bounds(size, lanes)
    count = len(bounds) - 1
    cuts = data.draw(st.lists(st.integers(0, count), max_size=3))
    ends = sorted({0, count, *cuts})
    ranges = [range(low, high) for low, high in pairwise(ends)]
    whole = float(summed_nats(network, tokens, bounds))
    parts = [float(summed_nats(network, tokens, bounds, own)) for own in ranges]
    assert sum(parts) == pytest.approx(whole, rel=1e-6)
    nats = by_position(
        [batch for own in ranges for batch in score(network, tokens, bounds, own)], size
    )
    assert np.isnan(nats).tolist() == [True] + [False] * (size - 1)
    assert mean_nats(network, tokens, lanes) == whole / (size - 1)


def test_the_lanes_that_are_asked_for_are_read() -> None:
    network = made()
    tokens = text(700)
    bounds = lane_bounds(700, 5)
    (batch, *_) = score(network, tokens, bounds, range(3, 5))
    assert batch.positions[0].tolist() == [bounds[3] + 1, bounds[4] + 1]
    assert list(score(network, tokens, bounds, range(0))) == []
    nothing = summed_nats(network, tokens, bounds, range(0))
    assert nothing.tolist() == [0.0]


def test_a_text_is_read_once_and_no_further_than_a_lane_goes() -> None:
    reads = []

    class Noted(Tokens):
        def read(self, start: int, stop: int) -> np.ndarray:
            reads.append((start, stop))
            return super().read(start, stop)

    tokens = Noted([text(301).read(0, 301)])
    # The first lane ends with the first batch, the second goes on.
    list(score(made(), tokens, [0, 128, 300]))
    assert reads == [(0, 129), (128, 257), (256, 301)]


def test_a_text_is_scored_on_the_networks_device() -> None:
    """On "meta", which has shapes but no numbers: the one other device that every machine has."""
    network = made("gru", embedding=3).to("meta")
    bounds = lane_bounds(300, 2)
    (batch, *_) = score(network, text(300), bounds)
    assert batch.nats.device.type == "meta"
    assert batch.nats.shape == (128, 2)
    assert summed_nats(network, text(300), bounds).device.type == "meta"
    assert summed_nats(made(), text(300), bounds).device.type == "cpu"


def test_the_sum_is_in_float64() -> None:
    network = made()
    tokens = text(5000)
    bounds = lane_bounds(5000, 3)
    total = summed_nats(network, tokens, bounds)
    assert total.dtype == torch.float64
    assert total.shape == (1,)
    assert not total.requires_grad
    batches = list(score(network, tokens, bounds))
    assert not any(batch.nats.requires_grad for batch in batches)
    exact = math.fsum(nats for batch in batches for nats in batch.nats.flatten().tolist())
    assert float(total) == pytest.approx(exact, rel=1e-12)


def test_the_mean_is_over_every_token_but_the_first() -> None:
    network = made()
    tokens = text(300)
    expected = plain_nats(network, tokens.read(0, 300), 0, 299).mean()
    assert mean_nats(network, tokens, 1) == pytest.approx(expected, rel=1e-5)
    bounds = lane_bounds(300, 4)
    parts = [plain_nats(network, tokens.read(0, 300), *pair) for pair in pairwise(bounds)]
    expected = np.concatenate(parts).mean()
    assert mean_nats(network, tokens, 4) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [0, 1])
def test_a_text_in_which_nothing_can_be_predicted_is_refused(size: int) -> None:
    message = f"a split of {size} tokens cannot be scored; it needs 2"
    with pytest.raises(ValueError, match=message):
        next(score(made(), text(size), [0, 0]))
    with pytest.raises(ValueError, match=message):
        mean_nats(made(), text(size), 1)
