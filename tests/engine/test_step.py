"""One step of the engine against the network in torch, and int8 against whole numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.engine import step
from pipeline.engine.request import Request
from tests.engine.small import VOCAB, engine, fed

CELLS = ("lstm", "gru", "rnn")


def some_tokens() -> torch.Tensor:
    return torch.randint(len(VOCAB), (6, 9), generator=torch.Generator().manual_seed(1))


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
    step.feed(
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


def test_a_score_is_the_models() -> None:
    made, model = engine()
    tokens = torch.randint(len(VOCAB), (50, 3), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits, _ = model(tokens[:-1], model.initial_state(3))
    expected = functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten()).item()
    assert made.score(tokens.numpy()) == pytest.approx(expected, rel=1e-5)
