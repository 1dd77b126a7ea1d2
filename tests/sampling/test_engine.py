from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from pipeline.corpora.vocab import Vocab
from pipeline.errors import InputError
from pipeline.sampling.engine import LANE_WIDTH, Engine, Request
from pipeline.training.config import ModelConfig
from pipeline.training.model import CharRNN, initialize

VOCAB = Vocab("byte", range(97, 109))


def engine(cell: str = "lstm", embedding: int = 0, vocab: Vocab = VOCAB) -> tuple[Engine, CharRNN]:
    torch.set_num_threads(1)
    config = ModelConfig(vocab_size=len(vocab), cell=cell, num_layers=2, hidden_size=24, embedding_size=embedding)  # type: ignore[arg-type]
    model = CharRNN(config)
    initialize(model, 1)
    return Engine(model, vocab, [(0, 3), (2, 1)]), model


def sampled(made: Engine, requests: list[Request]) -> list[bytes]:
    texts = [b""] * len(requests)
    for index, tokens, _ in made.stream(requests):
        texts[index] += made.vocab.decode(tokens)
    return texts


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding", [0, 6])
def test_a_step_is_the_models_step(cell: str, embedding: int) -> None:
    made, model = engine(cell, embedding)
    state, theirs = made.initial_state(), model.initial_state(LANE_WIDTH)
    for start in range(5):
        tokens = torch.arange(start, start + LANE_WIDTH) % len(VOCAB)
        with torch.no_grad():
            expected, theirs = model.step(tokens, theirs)
        torch.testing.assert_close(made.step(tokens, state), expected, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_text_and_another_seed_another() -> None:
    made, _ = engine()
    first, again, other = (sampled(made, [Request(0, 3000, seed=seed)])[0] for seed in (1, 1, 2))
    assert first == again != other


def test_lane_mates_and_lane_do_not_change_a_sample() -> None:
    made, _ = engine()
    alone = sampled(made, [Request(5, 2500, 0.8, prime=b"abc")])[0]
    others = [Request(n, 100 * n, 1.0 + n) for n in range(1, LANE_WIDTH)]
    for lane in range(LANE_WIDTH):
        mixed = [*others[:lane], Request(5, 2500, 0.8, prime=b"abc"), *others[lane:]]
        assert sampled(made, mixed)[lane] == alone


def test_every_request_gets_its_own_number_of_characters() -> None:
    made, _ = engine()
    requests = [Request(n, count, prime=b"ab" * n) for n, count in enumerate([1, 1023, 1024, 1025, 2049])]
    assert [len(text) for text in sampled(made, requests)] == [1, 1023, 1024, 1025, 2049]


def test_the_first_character_follows_the_documents_starts() -> None:
    made, _ = engine()
    starts = Counter(sampled(made, [Request(n, 1)])[0] for n in range(400))
    assert set(starts) == {b"a", b"c"}
    assert 250 < starts[b"a"] < 350


def test_zero_temperature_takes_the_likeliest_and_top_k_stays_among_k() -> None:
    made, model = engine()
    text = sampled(made, [Request(0, 50, temperature=0.0, prime=b"a")])[0]
    state = model.initial_state(1)
    with torch.no_grad():
        logits, state = model.step(torch.tensor([0]), state)
        for symbol in text:
            token = int(logits.argmax())
            assert bytes([symbol]) == VOCAB.decode([token])
            logits, state = model.step(torch.tensor([token]), state)
    assert sampled(made, [Request(0, 50, temperature=1.0, top_k=1, prime=b"a")])[0] == text


def test_frequencies_follow_the_softmax() -> None:
    made, model = engine()
    with torch.no_grad():
        logits, _ = model.step(torch.tensor([0]), model.initial_state(1))
    expected = torch.softmax(logits[0] / 0.7, 0).numpy()
    drawn = Counter(sampled(made, [Request(n, 1, 0.7, prime=b"a")])[0] for n in range(3000))
    observed = np.array([drawn[VOCAB.decode([token])] for token in range(len(VOCAB))]) / 3000
    assert abs(observed - expected).max() < 0.04


def test_the_nats_are_the_models() -> None:
    made, model = engine()
    request = Request(0, 200, 0.5, prime=b"ab")
    parts = [(tokens, nats) for _, tokens, nats in made.stream([request])]
    tokens = torch.tensor([0, 1, *np.concatenate([part for part, _ in parts])])
    with torch.no_grad():
        logits, _ = model(tokens[:-1].unsqueeze(1), model.initial_state(1))
    expected = torch.nn.functional.cross_entropy(logits[1:, 0], tokens[2:], reduction="sum").item()
    assert sum(nats for _, nats in parts) == pytest.approx(expected, rel=1e-5)


def test_an_unknown_token_is_never_sampled() -> None:
    made, _ = engine(vocab=Vocab("char", [None, 97, 98]))
    assert set(sampled(made, [Request(0, 2000)])[0].decode()) == {"a", "b"}


def test_a_prime_outside_the_vocabulary_is_named() -> None:
    made, _ = engine()
    with pytest.raises(InputError, match="byte 0x5A"):
        sampled(made, [Request(0, 1, prime=b"aZ")])
