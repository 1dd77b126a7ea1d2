"""N-gram models: exact against a reference that counts by hand."""

from __future__ import annotations

import base64
import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.intervals import Blocks
from pipeline.evaluation.ngrams import NgramScore, NgramTask, ngram_nats


class Reference:
    """Witten and Bell's rule as it is written, with dicts."""

    def __init__(self, train: bytes, order: int) -> None:
        self.followers: dict[bytes, Counter[int]] = defaultdict(Counter)
        for n in range(1, order + 1):
            for start in range(len(train) - n + 1):
                gram = train[start : start + n]
                self.followers[gram[:-1]][gram[-1]] += 1

    def probability(self, context: bytes, symbol: int) -> float:
        lower = self.probability(context[1:], symbol) if context else 1 / 256
        followers = self.followers.get(context)
        if not followers:
            return lower
        total = sum(followers.values())
        return (followers[symbol] + len(followers) * lower) / (total + len(followers))

    def nats(self, text: bytes, n: int) -> list[float]:
        return [
            -math.log(self.probability(text[max(0, place - n + 1) : place], text[place]))
            for place in range(len(text))
        ]


@settings(max_examples=60, deadline=None)
@given(train=st.binary(max_size=60), text=st.binary(max_size=40), order=st.integers(1, 6))
def test_it_is_the_rule_on_any_bytes(train: bytes, text: bytes, order: int) -> None:
    reference = Reference(train, order)
    for n, nats in enumerate(ngram_nats(train, text, order), start=1):
        assert nats.tolist() == pytest.approx(reference.nats(text, n))


@settings(max_examples=60, deadline=None)
@given(
    train=st.lists(st.sampled_from(b"ab\xff"), max_size=80).map(bytes),
    text=st.lists(st.sampled_from(b"ab\xff\x00"), max_size=60).map(bytes),
)
def test_it_is_the_rule_where_much_repeats(train: bytes, text: bytes) -> None:
    reference = Reference(train, 8)
    for n, nats in enumerate(ngram_nats(train, text, 8), start=1):
        assert nats.tolist() == pytest.approx(reference.nats(text, n))


def test_it_is_the_rule_for_twenty_bytes_of_words() -> None:
    draw = random.Random(1)
    words = [b"int ", b"return ", b"x = ", b"0;\n", b"if (", b") {\n"]
    train = b"".join(draw.choices(words, k=600))
    text = b"".join(draw.choices(words, k=60))
    reference = Reference(train, 20)
    last = list(ngram_nats(train, text, 20))[-1]
    assert last.tolist() == pytest.approx(reference.nats(text, 20))


@pytest.mark.parametrize("context", [b"", b"a", b"ba", b"zz"])
def test_probabilities_of_all_bytes_sum_to_one(context: bytes) -> None:
    total = 0.0
    for symbol in range(256):
        *_, nats = ngram_nats(b"abracadabra", context + bytes([symbol]), 3)
        total += math.exp(-nats[-1])
    assert total == pytest.approx(1)


def test_nothing_is_learnt_from_the_text() -> None:
    *_, nats = ngram_nats(b"abcd", b"zyzyzyzy", 3)
    assert nats[1] == nats[3] == nats[7]


def test_without_training_text_a_byte_costs_eight_bits() -> None:
    for nats in ngram_nats(b"", b"abc", 3):
        assert nats.tolist() == pytest.approx([math.log(256)] * 3)


def test_a_task_sums_by_block() -> None:
    train = b"the cat sat on the mat " * 20
    text = b"the dog sat on the cat " * 10
    sums = NgramTask(train, text, 3, 100).run()["sums"]
    blocks = Blocks.of(len(text), 100)
    for nats, found in zip(ngram_nats(train, text, 3), sums, strict=True):
        assert found == blocks.sums(nats, np.arange(len(text))).tolist()
        assert len(found) == 2
    assert NgramScore(3, 1.5, None).to_json() == {"n": 3, "bits_per_byte": 1.5, "interval": None}


def test_the_nats_of_the_longest_are_kept_bit_for_bit() -> None:
    task = NgramTask(b"abracadabra" * 9, b"cadabra abra", 4, 100, keeps_longest=True)
    kept = np.frombuffer(base64.b64decode(task.run()["longest"]))
    *_, last = ngram_nats(task.train, task.text, 4)
    assert kept.tobytes() == last.tobytes()
    assert NgramTask(task.train, task.text, 4, 100).run()["longest"] == ""
