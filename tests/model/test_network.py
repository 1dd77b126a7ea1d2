from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize


def made(
    cell: Any, vocab: int = 7, hidden: int = 5, layers: int = 2, embedding: int = 0
) -> CharRNN:
    config = ModelConfig(
        vocab_size=vocab, cell=cell, num_layers=layers, hidden_size=hidden, embedding_size=embedding
    )
    model = CharRNN(config).double()
    initialize(model, seed=3)
    return model


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding", [0, 3])
def test_one_step_at_a_time_is_the_whole_sequence(cell: str, embedding: int) -> None:
    model = made(cell, embedding=embedding)
    tokens = torch.randint(7, (11, 4), generator=torch.Generator().manual_seed(0))
    whole, end = model(tokens, model.initial_state(4))
    state = model.initial_state(4)
    logits = []
    for row in tokens:
        out, state = model.step(row, state)
        logits.append(out)
    torch.testing.assert_close(torch.stack(logits), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, end, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_gradients_agree_with_finite_differences(cell: str) -> None:
    model = made(cell, vocab=3, hidden=2)
    tokens = torch.tensor([[0, 1], [2, 0], [1, 1], [0, 2]])

    def loss() -> torch.Tensor:
        logits, _ = model(tokens[:-1], model.initial_state(2))
        return functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten(), reduction="sum")

    loss().backward()
    step = 1e-6
    for parameter in model.parameters():
        assert parameter.grad is not None
        flat = parameter.data.view(-1)
        gradient = parameter.grad.view(-1)
        for index in range(len(flat)):
            kept = flat[index].item()
            flat[index] = kept + step
            above = loss().item()
            flat[index] = kept - step
            below = loss().item()
            flat[index] = kept
            assert abs((above - below) / (2 * step) - gradient[index].item()) < 1e-6


def test_the_posts_hello_network_learns_its_four_transitions() -> None:
    """h->e, e->l, l->l, l->o: 4 symbols, 3 hidden units.

    Only the state tells the second 'l' from the first.
    """
    model = made("rnn", vocab=4, hidden=3, layers=1).float()
    text = torch.tensor([[0], [1], [2], [2], [3]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(200):
        logits, _ = model(text[:-1], model.initial_state(1))
        optimizer.zero_grad()
        functional.cross_entropy(logits.flatten(0, 1), text[1:].flatten()).backward()
        optimizer.step()
    assert logits.argmax(-1).flatten().tolist() == [1, 2, 2, 3]


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = made("lstm").state_dict()
    model = made("lstm")
    torch.manual_seed(2)
    before = torch.get_rng_state()
    initialize(model, 4)
    assert torch.equal(torch.get_rng_state(), before)
    second = made("lstm").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["layers.0.bias_ih_l0"].tolist() == [0] * 5 + [1] * 5 + [0] * 10
