"""The compiled loop against the network in torch: its steps, what it draws, and where texts end."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pipeline.corpora.vocab import Vocab
from pipeline.counter_rng import uniforms
from pipeline.engine import kernels
from pipeline.engine.engine import Engine
from pipeline.engine.lanes import stop_borders
from pipeline.engine.request import Request
from pipeline.model.network import CharRNN
from tests.engine.small import VOCAB, engine, fed, last_pieces

PRECISIONS = ("fp32", "int8")
CELLS = ("lstm", "gru", "rnn")


def some_tokens() -> torch.Tensor:
    return torch.randint(len(VOCAB), (6, 9), generator=torch.Generator().manual_seed(1))


# One step


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding", [0, 6])
@pytest.mark.parametrize("size", [7, 24, 70])
def test_a_step_is_the_models_step(cell: str, embedding: int, size: int) -> None:
    made, model = engine(cell, embedding=embedding, size=size)
    tokens = some_tokens()
    with torch.no_grad():
        expected, _ = model(tokens, model.initial_state(9))
    np.testing.assert_allclose(fed(made, tokens.numpy()), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_int8_is_near_the_model(cell: str) -> None:
    made, model = engine(cell, size=70, precision="int8")
    tokens = some_tokens()
    with torch.no_grad():
        expected, _ = model(tokens, model.initial_state(9))
    difference = np.abs(fed(made, tokens.numpy()) - expected.numpy()).max()
    assert 0 < difference < 0.05


def test_int8_adds_whole_numbers() -> None:
    made, _ = engine(size=70, precision="int8")
    lanes = made.lanes(3)
    arrays = made.weights.arrays
    kernels.feed(
        np.array([1, 2, 3]),
        3,
        made.weights.config.traits.code,
        arrays,
        lanes.state,
        lanes.buffers,
    )
    # The head's product, by hand.
    panels, start, scale = arrays.head
    whole = panels.transpose(0, 2, 1, 3).reshape(64, -1).astype(np.int64)
    activations = lanes.state.int8_activations[-1].astype(np.int64)
    sums = activations @ whole.T + start
    assert abs(sums).max() > 1000
    expected = arrays.head_bias + sums.astype(np.float32) * scale
    np.testing.assert_array_equal(lanes.buffers.logits, expected)


def test_int8_activations_are_the_rounded_hidden_state() -> None:
    made, _ = engine(size=7, precision="int8")
    lanes = made.lanes(2)
    lanes.start("x", Request(0, 50))
    lanes.start("y", Request(1, 300))
    lanes.advance()
    hidden = lanes.state.hidden[:, 0]
    assert abs(hidden).max() > 0.1
    activations = lanes.state.int8_activations[:, 0, :7].astype(int)
    np.testing.assert_array_equal(activations, np.floor(hidden * np.float32(127) + 128.5))
    assert (lanes.state.int8_activations[:, 0, 7:] == 128).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_seed_gives_the_same_text_and_another_seed_another(precision: str) -> None:
    made, _ = engine(precision=precision)
    first, again, other = (made.sample([Request(0, 3000, seed=seed)])[0] for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_neither_lane_mates_nor_lane_nor_width_change_a_sample(cell: str, precision: str) -> None:
    made, _ = engine(cell, precision=precision, size=40)
    wanted = [
        Request(n, 100 + 37 * (n % 5), 0.5 + n % 3, prime=b"abc"[: n % 4]) for n in range(130)
    ]
    texts = made.sample(wanted)
    for width in (1, 2, 3, 7, 16, 64, 130):
        written: dict[Any, bytes] = {}
        for piece in made.stream(wanted, width=width):
            written[piece.name] = written.get(piece.name, b"") + piece.text
        assert [written[n] for n in range(130)] == texts, width
    assert made.sample(wanted[::-1])[::-1] == texts


# Arithmetic of our own


def test_tanh_and_sigmoid_are_near_the_functions() -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e30, -9, 0, 9, 1e30]]).astype(np.float32)
    ours = np.array([kernels._tanh(value) for value in x])
    assert abs(ours - np.tanh(x.astype(np.float64))).max() < 4.5e-7
    # Not above 1 by more than the last bit: as an int8 activation it must not wrap round.
    assert np.float32(abs(ours).max()) <= np.nextafter(np.float32(1), np.float32(2))
    sigmoid = np.array([kernels._sigmoid(value) for value in x])
    assert abs(sigmoid - 1 / (1 + np.exp(-np.clip(x, -80, 80).astype(np.float64)))).max() < 3e-7


def test_exp_is_near_the_function_and_zero_far_below() -> None:
    x = -np.concatenate([np.linspace(0, 699.9, 5000), np.geomspace(1e-9, 1, 100)])
    ours = np.array([kernels._exp(value) for value in x])
    np.testing.assert_allclose(ours, np.exp(x), rtol=5e-16)
    assert kernels._exp(0.0) == 1.0
    for value in (-700.0, -701.0, -1e9, -math.inf):
        assert kernels._exp(value) == 0.0
    assert kernels._exp(-699.999) > 0


def test_random_numbers_are_the_counters() -> None:
    keys = [0, 1, 2**63, 2**64 - 1]
    expected = uniforms(keys, 0, 50)
    for row, key in zip(expected, keys, strict=True):
        ours = [kernels._uniform(np.uint64(key), position) for position in range(50)]
        assert ours == row.tolist()


# What is drawn


def test_the_first_character_follows_the_documents_starts() -> None:
    made, _ = engine()
    starts = Counter(made.sample([Request(n, 1) for n in range(400)]))
    assert set(starts) == {b"a", b"c"}
    assert 250 < starts[b"a"] < 350


def test_the_first_characters_nats_are_those_of_the_starts() -> None:
    made, _ = engine()
    requests = [Request(n, 1) for n in range(50)]
    texts = made.sample(requests)
    for n, piece in last_pieces(made, requests).items():
        share = 3 / 4 if texts[n] == b"a" else 1 / 4
        assert piece.nats == pytest.approx(-math.log(share), rel=1e-12)


def test_zero_temperature_takes_the_likeliest_and_top_k_stays_among_k() -> None:
    made, model = engine()
    (text,) = made.sample([Request(0, 50, temperature=0.0, prime=b"a")])
    state = model.initial_state(1)
    with torch.no_grad():
        logits, state = model.step(torch.tensor([1]), state)
        for symbol in text[1:]:
            token = int(logits.argmax())
            assert bytes([symbol]) == VOCAB.decode([token])
            logits, state = model.step(torch.tensor([token]), state)
    assert made.sample([Request(0, 50, temperature=1.0, top_k=1, prime=b"a")])[0] == text


def expected_after_a(model: CharRNN, temperature: float) -> np.ndarray:
    with torch.no_grad():
        logits, _ = model.step(torch.tensor([1]), model.initial_state(1))
    return torch.softmax(logits[0].double() / temperature, 0).numpy()


def observed_after_a(made: Engine, **options: Any) -> np.ndarray:
    drawn = Counter(made.sample([Request(n, 1, prime=b"a", **options) for n in range(4000)]))
    return np.array([drawn[b"a" + VOCAB.decode([token])] for token in range(len(VOCAB))]) / 4000


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(0.7, 0, 1.0), (1.0, 4, 1.0), (1.0, 0, 0.6), (1.5, 5, 0.5), (1.0, 99, 1.0)],
)
def test_frequencies_follow_the_softmax(temperature: float, top_k: int, top_p: float) -> None:
    made, model = engine()
    expected = expected_after_a(model, temperature)
    order = np.argsort(-expected)
    kept = order[: top_k or len(order)]
    shares = np.cumsum(expected[kept]) / expected[kept].sum()
    kept = kept[: int(np.searchsorted(shares, top_p)) + 1]  # the fewest that have the probability
    chosen = np.zeros_like(expected)
    chosen[kept] = expected[kept] / expected[kept].sum()
    observed = observed_after_a(made, temperature=temperature, top_k=top_k, top_p=top_p)
    assert set(np.flatnonzero(observed)) == set(kept)
    assert abs(observed - chosen).max() < 0.035


def test_the_nats_are_the_models() -> None:
    made, model = engine()
    request = Request(0, 400, 0.5, prime=b"ab")
    pieces = list(made.stream([request]))
    text = b"".join(piece.text for piece in pieces)
    tokens = torch.from_numpy(VOCAB.encode(text).astype(np.int64))
    with torch.no_grad():
        logits, _ = model(tokens[:-1].unsqueeze(1), model.initial_state(1))
    expected = functional.cross_entropy(logits[1:, 0], tokens[2:], reduction="sum").item()
    assert pieces[-1].nats == pytest.approx(expected, rel=1e-5)
    assert pieces[-1].sampled == 400


def test_a_score_is_the_models() -> None:
    made, model = engine()
    tokens = torch.randint(len(VOCAB), (50, 3), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits, _ = model(tokens[:-1], model.initial_state(3))
    expected = functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten()).item()
    assert made.score(tokens.numpy()) == pytest.approx(expected, rel=1e-5)


def test_an_unknown_token_is_neither_drawn_nor_counted() -> None:
    vocab = Vocab("char", [None, 97, 98, 99])
    made, model = engine(vocab=vocab)
    request = Request(0, 500, prime=b"a")
    (text,) = made.sample([request])
    assert set(text.decode()) == {"a", "b", "c"}
    # Its nats are those of a softmax over the other tokens alone.
    tokens = torch.from_numpy(vocab.encode(text).astype(np.int64))
    with torch.no_grad():
        logits, _ = model(tokens[:-1].unsqueeze(1), model.initial_state(1))
    expected = functional.cross_entropy(logits[:, 0, 1:], tokens[1:] - 1, reduction="sum").item()
    assert last_pieces(made, [request])[0].nats == pytest.approx(expected, rel=1e-5)


# Where a text or an item ends


def test_items_are_lines_that_begin_with_the_prime() -> None:
    made, model = engine()
    (text,) = made.sample([Request(0, 12, 1.0, prime=b"ka", lines=300)])
    items = text.decode().splitlines()
    assert len(items) == 300
    assert text.endswith(b"\n")
    assert all(re.fullmatch("ka[a-l]{0,11}", item) for item in items)
    assert len(set(items)) > 50
    # Each item starts from a zero state that has read a line feed: so do its first letters.
    (free,) = made.sample([Request(0, 50, lines=4000)])
    with torch.no_grad():
        logits, _ = model.step(torch.tensor([0]), model.initial_state(1))
    expected = torch.softmax(logits[0], 0).numpy()
    starts = Counter(line[:1] for line in free.split(b"\n")[:-1])
    counts = [starts[b""], *(starts[VOCAB.text(token)] for token in range(1, len(VOCAB)))]
    assert abs(np.array(counts) / 4000 - expected).max() < 0.035


def test_a_line_feed_that_nobody_drew_costs_no_nats() -> None:
    made, model = engine()
    requests = [Request(n, 3, lines=1) for n in range(40)]
    texts = made.sample(requests)
    cut = [n for n, text in enumerate(texts) if len(text) == 3]
    assert cut
    ends = last_pieces(made, requests)
    for n in cut:
        # A line feed is read first, two letters are drawn, and the length takes the third place.
        tokens = torch.from_numpy(VOCAB.encode(b"\n" + texts[n][:2]).astype(np.int64))
        with torch.no_grad():
            logits, _ = model(tokens[:-1].unsqueeze(1), model.initial_state(1))
        expected = functional.cross_entropy(logits[:, 0], tokens[1:], reduction="sum").item()
        assert ends[n].nats == pytest.approx(expected, rel=1e-5)
        assert ends[n].sampled == 3


@given(st.text("ab", min_size=1, max_size=6), st.text("ab", max_size=60))
@settings(max_examples=200, deadline=None)
def test_the_stop_automaton_finds_the_first_occurrence(stop: str, text: str) -> None:
    tokens = np.array([ord(symbol) for symbol in stop], np.int64)
    borders = stop_borders(tokens)
    numbers = np.zeros(len(kernels.FIELDS), np.int64)
    numbers[kernels.LEFT] = 1000
    ends = [
        at + 1
        for at, symbol in enumerate(text)
        if kernels.ends_text(numbers, ord(symbol), tokens, borders)
    ]
    at = text.find(stop)
    assert (ends[0] if ends else -1) == (at + len(stop) if at >= 0 else -1)


def test_a_text_ends_when_nothing_is_left() -> None:
    numbers = np.zeros(len(kernels.FIELDS), np.int64)
    nothing = np.zeros(0, np.int64)
    assert kernels.ends_text(numbers, 1, nothing, nothing)
    numbers[kernels.LEFT] = 1
    assert not kernels.ends_text(numbers, 1, nothing, nothing)
