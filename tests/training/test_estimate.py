"""Costs from shapes, compared with torch's and with arithmetic by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.estimates import Estimate
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN
from pipeline.training import estimate
from pipeline.training.config import TrainConfig


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(
        **{"corpus": "c", "num_layers": 1, "hidden_size": 8, "global_batch_size": 6, "seq_len": 10}
        | changes
    )


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding", [0, 5])
def test_parameters_are_the_networks(cell: Any, embedding: int) -> None:
    model = ModelConfig(vocab_size=11, cell=cell, hidden_size=7, embedding_size=embedding)
    assert estimate.parameters(model) == CharRNN(model).num_parameters()


def test_a_token_costs_its_matrix_products() -> None:
    # Recurrent 2*32*8, upper layer's input 2*32*8 and recurrent 2*32*8, head 2*11*8.
    lstm = ModelConfig(vocab_size=11, num_layers=2, hidden_size=8)
    assert estimate.token_operations(lstm) == 3 * 512 + 176
    # The other cells multiply the one-hot input too, or the embedding.
    gru = ModelConfig(vocab_size=11, cell="gru", num_layers=1, hidden_size=8)
    assert estimate.token_operations(gru) == 2 * 24 * (11 + 8) + 176
    embedded = ModelConfig(vocab_size=11, cell="rnn", num_layers=1, hidden_size=8, embedding_size=5)
    assert estimate.token_operations(embedded) == 2 * 8 * (5 + 8) + 176


@pytest.mark.parametrize(("optimizer", "tensors"), [("rmsprop", 1), ("adam", 2), ("adamw", 2)])
def test_memory_holds_weights_gradient_and_optimizer(optimizer: Any, tensors: int) -> None:
    settings = config(optimizer=optimizer)
    model = settings.model(11)
    found = estimate.memory(settings, model)
    assert found.weights == found.gradient == 4 * estimate.parameters(model)
    assert found.optimizer == tensors * found.weights
    assert found.snapshot == found.weights + found.optimizer
    # 60 cells of 2*32 gates and 4*8 states, and 4 numbers a symbol.
    assert found.activations == 4 * 60 * (2 * 32 + 4 * 8 + 4 * 11)
    parts = found.weights + found.gradient + found.optimizer + found.snapshot + found.activations
    assert found.total == found.to_json()["total"] == parts + estimate.PROCESS_BYTES


def test_successive_batches_take_time_and_no_memory() -> None:
    model = config().model(11)
    assert estimate.memory(config(batches_per_update=4), model) == estimate.memory(config(), model)
    step = Estimate(2.0, "")
    once = estimate.evaluation_seconds(step, config(), 600)
    assert estimate.evaluation_seconds(step, config(batches_per_update=4), 600) == once / 4


def test_activations_shrink_with_workers_and_parts_and_grow_with_dropout() -> None:
    model = config().model(11)
    whole = estimate.memory(config(), model).activations
    assert estimate.memory(config(num_workers="2:3"), model).activations == whole // 2
    assert estimate.memory(config(accumulate=3), model).activations == whole // 3
    dropped = ModelConfig(vocab_size=11, num_layers=1, hidden_size=8, dropout=0.5)
    assert estimate.memory(config(), dropped).activations == whole + 4 * 2 * 60 * 8


def test_a_step_is_its_products_at_the_measured_rate_and_what_is_besides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def rate(*shape: int) -> float:
        asked.append(shape)
        return 1e9

    monkeypatch.setattr(estimate, "product_rate", rate)
    settings = config(num_workers=2)
    model = settings.model(11)
    step = estimate.step_seconds(settings, model, 2)
    assert step is not None
    assert asked == [(3, 8, 32, 1)]
    products = 3 * estimate.token_operations(model) * 30 / 1e9
    besides = estimate.ELEMENT_S * 30 * 32 + estimate.WEIGHT_S * estimate.parameters(model)
    assert step.value == pytest.approx(products + besides + estimate.STEP_S)
    # Two workers on one processor take turns; on a cluster each has its own.
    crowded = estimate.step_seconds(settings, model, 1)
    assert crowded is not None
    assert crowded.value == pytest.approx(2 * (products + besides) + estimate.STEP_S)
    apart = estimate.step_seconds(settings, model, None)
    assert apart is not None
    assert apart.value == step.value


def test_an_evaluation_is_a_third_of_the_steps_that_read_as_much() -> None:
    assert estimate.evaluation_seconds(Estimate(0.3, ""), config(), 600) == pytest.approx(1.0)
