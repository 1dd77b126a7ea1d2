from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize, initialize_uniform


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
def test_uniform_weights_are_char_rnns(cell: str) -> None:
    """All within 0.08, but for the LSTM's forget gates, which are asked to remember."""
    model = made(cell, vocab=40, hidden=30, embedding=20)
    initialize_uniform(model, seed=3)
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        if cell == "lstm" and "bias_ih" in name:
            assert (value[30:60] == 1).all()
            value = torch.cat([value[:30], value[60:]])
        assert 0.07 < value.abs().max() <= 0.08
        assert abs(value.mean()) < 0.02
    again = made(cell, vocab=40, hidden=30, embedding=20)
    initialize_uniform(again, seed=3)
    assert torch.equal(again.head.weight, model.head.weight)
    initialize_uniform(again, seed=4)
    assert not torch.equal(again.head.weight, model.head.weight)


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


def plain_logits(
    model: CharRNN, tokens: torch.Tensor, masks: list[torch.Tensor]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits by torch.nn's own stack from a zero state; after each layer its mask is applied."""
    config = model.config
    weights = model.state_dict()
    if config.embedding_size:
        outputs = functional.embedding(tokens, weights["embedding.weight"])
    else:
        outputs = functional.one_hot(tokens, config.vocab_size).double()
    states = []
    for layer, mask in enumerate(masks):
        module = getattr(torch.nn, config.traits.torch_module)(
            outputs.shape[-1], config.hidden_size
        ).double()
        prefix = f"layers.{layer}."
        own = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
        module.load_state_dict(own)
        outputs, state = module(outputs)
        states.append(torch.cat(state) if isinstance(state, tuple) else state)
        outputs = outputs * mask
    return functional.linear(outputs, weights["head.weight"], weights["head.bias"]), states


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding", [0, 3])
def test_logits_and_state_are_torchs(cell: str, embedding: int) -> None:
    model = made(cell, embedding=embedding, layers=3)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(7, (11, 4), generator=generator)
    masks = [torch.rand(11, 4, 5, generator=generator, dtype=torch.float64) for _ in range(3)]
    for used in (masks, [torch.ones(1, dtype=torch.float64)] * 3):
        expected, states = plain_logits(model, tokens, used)
        with torch.no_grad():
            apply = (lambda layer, outputs: masks[layer]) if used is masks else None
            logits, state = model(tokens, model.initial_state(4), apply)
        torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
        # What a layer carries on is what it was before the mask.
        torch.testing.assert_close(state, torch.stack(states), rtol=1e-12, atol=1e-12)


def test_masks_see_what_they_mask() -> None:
    model = made("gru")
    seen = []

    def masks(layer: int, outputs: torch.Tensor) -> torch.Tensor:
        seen.append((layer, tuple(outputs.shape)))
        return torch.zeros_like(outputs)

    tokens = torch.randint(7, (3, 4), generator=torch.Generator().manual_seed(0))
    logits, _ = model(tokens, model.initial_state(4), masks)
    assert seen == [(0, (3, 4, 5)), (1, (3, 4, 5))]
    # Nothing is left of the last layer's outputs, so the head adds its bias alone.
    torch.testing.assert_close(logits, model.head.bias.expand(3, 4, 7))


@pytest.mark.parametrize(("cell", "states"), [("lstm", 2), ("gru", 1), ("rnn", 1)])
def test_the_initial_state_is_zero(cell: str, states: int) -> None:
    state = made(cell).initial_state(6)
    assert state.shape == (2, states, 6, 5)
    assert state.dtype == torch.float64
    assert not state.any()


def test_parameters_are_counted() -> None:
    model = made("gru", embedding=3)
    shapes = model.config.shapes().values()
    assert model.num_parameters() == sum(torch.Size(shape).numel() for shape in shapes)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding", [0, 40])
def test_how_weights_are_drawn(cell: str, embedding: int) -> None:
    model = made(cell, vocab=50, hidden=60, layers=2, embedding=embedding)
    gates = model.config.traits.gates
    weights = model.state_dict()
    for layer in range(2):
        recurrent = weights[f"layers.{layer}.weight_hh_l0"].view(gates, 60, 60)
        for gate in recurrent:
            torch.testing.assert_close(gate @ gate.T, torch.eye(60, dtype=torch.float64))
        assert not weights[f"layers.{layer}.bias_hh_l0"].any()
        forget = slice(60, 120) if cell == "lstm" else slice(0)
        expected = torch.zeros(gates * 60, dtype=torch.float64)
        expected[forget] = 1
        assert torch.equal(weights[f"layers.{layer}.bias_ih_l0"], expected)
    assert not weights["head.bias"].any()

    def uniform(values: torch.Tensor, bound: float) -> None:
        assert values.abs().max() <= bound
        assert values.abs().max() > 0.98 * bound
        assert abs(values.std() - bound / 3**0.5) < 0.05 * bound

    def normal(values: torch.Tensor) -> None:
        assert abs(values.std() - 1) < 0.05
        assert abs(values.mean()) < 0.05
        assert values.abs().max() > 2.5

    uniform(weights["head.weight"], 1 / 60**0.5)
    uniform(weights["layers.1.weight_ih_l0"], (6 / 120) ** 0.5)
    if embedding:
        uniform(weights["layers.0.weight_ih_l0"], (6 / 100) ** 0.5)
        normal(weights["embedding.weight"])
    else:
        normal(weights["layers.0.weight_ih_l0"])  # a one-hot input has a fan-in of 1


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
