"""An engine samples many texts through few lanes; which lanes and when changes no text.

The compiled loop itself is tested in test_kernels.py, in both precisions.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.engine.engine import WIDTH, Engine, engine_of
from pipeline.engine.lanes import Lanes
from pipeline.engine.request import Request
from pipeline.errors import InputError
from tests.engine.small import FIRST_TOKENS, VOCAB, engine, network


class Noted(Engine):
    """An engine that notes the lanes it is asked for, and their names as they start."""

    def __init__(self, made: Engine) -> None:
        super().__init__(made.weights, made.writable)
        self.asked: list[tuple[Any, ...]] = []
        self.made: list[Lanes] = []

    def lanes(self, width: int, stop: bytes = b"", *, lines: bool = False) -> Lanes:
        self.asked.append((width, stop, lines))
        self.made.append(super().lanes(width, stop, lines=lines))
        return self.made[-1]


def test_the_same_seed_gives_the_same_text_and_another_seed_another() -> None:
    made, _ = engine()
    first, again, other = (made.sample([Request(0, 3000, seed=seed)])[0] for seed in (1, 1, 2))
    assert first == again != other


def test_neither_lane_mates_nor_lane_nor_width_change_a_sample() -> None:
    made, _ = engine(size=40)
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


def test_threads_sample_what_one_does() -> None:
    made, _ = engine()
    requests = [Request(n, 2000) for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        side_by_side = list(pool.map(lambda request: made.sample([request])[0], requests))
    assert side_by_side == made.sample(requests)


def test_every_request_gets_its_own_number_of_characters() -> None:
    made, _ = engine()
    counts = [1, 255, 256, 257, 513]
    requests = [Request(n, count, prime=b"ab" * n) for n, count in enumerate(counts)]
    texts = made.sample(requests)
    assert [len(text) for text in texts] == [count + 2 * n for n, count in enumerate(counts)]
    assert all(text.startswith(b"ab" * n) for n, text in enumerate(texts))


def test_the_stop_text_ends_a_sample_and_is_written() -> None:
    made, _ = engine()
    requests = [Request(n, 5000) for n in range(10)]
    free = made.sample(requests)
    for text, whole in zip(made.sample(requests, stop=b"fc"), free, strict=True):
        at = whole.index(b"fc") + 2
        assert text == whole[:at]


def test_a_prime_or_stop_text_outside_the_vocabulary_is_refused() -> None:
    made, _ = engine()
    with pytest.raises(InputError, match="byte 0x5A"):
        made.sample([Request(0, 1, prime=b"aZ")])
    with pytest.raises(InputError, match="byte 0x5A"):
        made.sample([Request(0, 1)], stop=b"Z")


def test_no_request_gives_no_text() -> None:
    made, _ = engine()
    assert made.sample([]) == []
    assert list(made.stream([])) == []


def test_no_more_lanes_than_requests_or_than_the_width() -> None:
    assert WIDTH == 64
    made = Noted(engine()[0])
    made.sample([Request(n, 3) for n in range(2)])
    made.sample([Request(n, 3) for n in range(70)])
    list(made.stream([Request(n, 3) for n in range(9)], b"ab", 3))
    assert made.asked == [(2, b"", False), (64, b"", False), (3, b"ab", False)]
    assert [lanes.width for lanes in made.made] == [2, 64, 3]
    assert [lanes.stop.tolist() for lanes in made.made] == [[], [], [1, 2]]
    assert all(lanes.running == 0 for lanes in made.made)


def test_lines_stop_at_a_line_feed() -> None:
    made = Noted(engine()[0])
    requests = [Request(0, 9), Request(1, 9, lines=2)]
    (_, text) = made.sample(requests)
    assert made.asked == [(2, b"", True)]
    assert made.made[0].stop.tolist() == [0]  # the token of the line feed
    assert text.count(b"\n") == 2
    assert made.lanes(1, b"ab", lines=True).stop.tolist() == [0]
    plain, _ = engine()
    assert plain.lanes(1, b"ab").stop.tolist() == [1, 2]
    assert plain.lanes(1).stop.tolist() == []


def test_requests_start_in_order_as_lanes_become_free() -> None:
    made, _ = engine()
    # Two lanes: 0 and 1 begin; 1 ends first and makes room for 2, which ends before 0.
    requests = [Request(0, 9), Request(1, 2), Request(2, 3), Request(3, 9)]
    pieces = [(piece.name, piece.text, piece.ended) for piece in made.stream(requests, width=2)]
    assert [(name, ended) for name, _, ended in pieces] == [
        (0, False),
        (1, True),
        (0, False),
        (2, True),
        (0, True),
        (3, False),
        (3, True),
    ]
    assert [len(text) for _, text, _ in pieces] == [2, 2, 3, 3, 4, 4, 5]
    joined = [b"".join(text for name, text, _ in pieces if name == n) for n in range(4)]
    assert joined == made.sample(requests)


def test_a_text_is_scored_as_the_model_scores_it() -> None:
    made, model = engine()
    for lanes in (1, 3):
        tokens = torch.randint(len(VOCAB), (50, lanes), generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            logits, _ = model(tokens[:-1], model.initial_state(lanes))
        expected = functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten()).item()
        score = made.score(tokens.numpy())
        assert isinstance(score, float)
        assert score == pytest.approx(expected, rel=1e-5)


def test_the_engine_of_a_network_reads_it_as_it_stands() -> None:
    model = network("gru", embedding=3)
    made = engine_of(model, VOCAB)
    assert made.weights.config is model.config
    assert made.weights.precision == "fp32"
    assert made.weights.arrays.table.dtype == np.float32
    # Without first tokens, every token is as likely a start.
    np.testing.assert_array_equal(made.writable.first_counts, np.arange(1, 14))
    assert made.writable.vocab is VOCAB
    other = engine_of(model, VOCAB, FIRST_TOKENS, "int8")
    assert other.weights.precision == "int8"
    assert other.writable.first_counts.tolist() == [0, 3, 3] + [4] * 10
    # In float64 too, and on a network that is being trained.
    double = engine_of(network("gru", embedding=3).double().train(), VOCAB)
    np.testing.assert_array_equal(double.weights.arrays.table, made.weights.arrays.table)
    assert double.weights.arrays.table.dtype == np.float32
