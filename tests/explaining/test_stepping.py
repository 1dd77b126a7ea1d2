from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.explaining.stepping import GATES, Clamp, step_through
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize

CELLS = ("lstm", "gru", "rnn")


def small(cell: Any, embedding: int = 0) -> CharRNN:
    config = ModelConfig(
        vocab_size=7, cell=cell, num_layers=2, hidden_size=6, embedding_size=embedding
    )
    made = CharRNN(config)
    initialize(made, 3)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "bias" in name:
                parameter.uniform_(-1, 1, generator=torch.Generator().manual_seed(len(name)))
    return made


TOKENS = torch.randint(7, (20, 3), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding", [0, 5])
def test_it_is_the_network(cell: str, embedding: int) -> None:
    made = small(cell, embedding)
    inside = step_through(made, TOKENS, made.initial_state(3))
    logits, state = made(TOKENS, made.initial_state(3))
    torch.testing.assert_close(inside.logits, logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(inside.state, state, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_every_step_of_every_layer_is_torch_s_own(cell: str) -> None:
    made = small(cell)
    inside = step_through(made, TOKENS, made.initial_state(3))
    outputs = torch.nn.functional.one_hot(TOKENS, 7).float()
    for layer, hidden in zip(made.layers, inside.hidden, strict=True):
        outputs, _ = layer(outputs)
        torch.testing.assert_close(hidden, outputs, atol=1e-5, rtol=1e-5)


def test_gates_and_cell_make_the_hidden_state() -> None:
    made = small("lstm")
    inside = step_through(made, TOKENS, made.initial_state(3))
    assert inside.cell is not None
    torch.testing.assert_close(inside.hidden, inside.gates["output"] * inside.cell)
    state = torch.atanh(inside.cell.double())
    kept = inside.gates["forget"][:, 1:] * state[:, :-1]
    let_in = (state[:, 1:] - kept) / inside.gates["input"][:, 1:]
    assert let_in.abs().max() < 1.001  # a candidate is a tanh


def test_the_update_gate_mixes_the_last_state_in() -> None:
    made = small("gru")
    inside = step_through(made, TOKENS, made.initial_state(3))
    update = inside.gates["update"][:, 1:]
    candidate = (inside.hidden[:, 1:] - update * inside.hidden[:, :-1]) / (1 - update)
    assert candidate.abs().max() < 1.001


@pytest.mark.parametrize("cell", CELLS)
def test_gates_are_those_of_the_cell(cell: str) -> None:
    made = small(cell)
    inside = step_through(made, TOKENS, made.initial_state(3))
    assert tuple(inside.gates) == GATES[cell]
    assert (inside.cell is None) == (cell != "lstm")


@pytest.mark.parametrize("cell", CELLS)
def test_a_stretch_goes_on_where_the_last_one_ended(cell: str) -> None:
    made = small(cell)
    whole = step_through(made, TOKENS, made.initial_state(3))
    first = step_through(made, TOKENS[:9], made.initial_state(3))
    second = step_through(made, TOKENS[9:], first.state)
    joined = torch.cat([first.hidden, second.hidden], dim=1)
    torch.testing.assert_close(joined, whole.hidden, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_held_unit_stays_and_reaches_only_its_own_lane(cell: str) -> None:
    made = small(cell)
    clamp = Clamp(0, torch.tensor([1]), torch.tensor([2]), torch.tensor([0.25]))
    free = step_through(made, TOKENS, made.initial_state(3))
    held = step_through(made, TOKENS, made.initial_state(3), [clamp])
    assert (held.hidden[0, :, 1, 2] == 0.25).all()
    torch.testing.assert_close(held.logits[:, [0, 2]], free.logits[:, [0, 2]])
    assert not torch.allclose(held.hidden[0, 1:, 1, 0], free.hidden[0, 1:, 1, 0])
    assert not torch.allclose(held.logits[:, 1], free.logits[:, 1])


def test_threads_are_as_before() -> None:
    made = small("rnn")
    before = torch.get_num_threads()
    step_through(made, TOKENS, made.initial_state(3))
    assert torch.get_num_threads() == before
