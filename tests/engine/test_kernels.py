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
from pipeline.engine import kernels
from pipeline.engine.engine import Engine
from pipeline.engine.lanes import stop_borders
from pipeline.engine.request import Request
from pipeline.model.network import CharRNN
from tests.engine.small import VOCAB, engine, last_pieces

PRECISIONS = ("fp32", "int8")
CELLS = ("lstm", "gru", "rnn")


def some_tokens() -> torch.Tensor:
    return torch.randint(len(VOCAB), (6, 9), generator=torch.Generator().manual_seed(1))


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
