"""How weights are laid out for the compiled loop, compared by hand. Compiles nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine.weights import STEPS, Panels, Weights, padded
from pipeline.errors import InputError
from pipeline.model.config import CELLS, ModelConfig


def random_weights(config: ModelConfig, kind: Any = np.float32) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    shapes = config.shapes()
    return {name: generator.normal(size=shape).astype(kind) for name, shape in shapes.items()}


def made(
    cell: Any = "lstm", precision: Any = "fp32", kind: Any = np.float32, **shape: int
) -> tuple[Weights, dict[str, np.ndarray]]:
    config = ModelConfig(**{"vocab_size": 5, "cell": cell, "hidden_size": 20, **shape})  # type: ignore[arg-type]
    weights = random_weights(config, kind)
    return Weights(config, weights, precision), weights


def matrix(panels: np.ndarray) -> np.ndarray:
    """The matrix (N, K) of panels (P, K, 64)."""
    return panels.transpose(0, 2, 1).reshape(-1, panels.shape[1])


def int8_matrix(panels: np.ndarray) -> np.ndarray:
    """The matrix (N, K) of panels (P, K / 4, 64, 4)."""
    return panels.transpose(0, 2, 1, 3).reshape(panels.shape[0] * 64, -1)


@pytest.mark.parametrize(
    ("count", "multiple", "least"), [(0, 4, 0), (1, 4, 4), (4, 4, 4), (5, 4, 8), (65, 64, 128)]
)
def test_the_least_multiple(count: int, multiple: int, least: int) -> None:
    assert padded(count, multiple) == least


def test_facts() -> None:
    weights, _ = made("gru", hidden_size=30)
    assert weights.config == ModelConfig(vocab_size=5, cell="gru", hidden_size=30)
    assert weights.precision == "fp32"
    assert weights.outputs == 128  # 3 gates of 30 are 90
    assert STEPS == 127
    assert made(precision="int8")[0].precision == "int8"


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_float_panels_are_the_matrices(cell: str) -> None:
    weights, plain = made(cell, num_layers=3)
    outputs = CELLS[cell].gates * 20
    rows = weights.outputs
    assert rows == -(-outputs // 64) * 64
    arrays = weights.arrays
    assert arrays.recurrent.panels.shape == (3, rows // 64, 20, 64)
    assert arrays.inputs.panels.shape == (2, rows // 64, 20, 64)
    for layer in range(3):
        found = matrix(arrays.recurrent.panels[layer])
        np.testing.assert_array_equal(found[:outputs], plain[f"layers.{layer}.weight_hh_l0"])
        assert (found[outputs:] == 0).all()
    for layer in (1, 2):
        found = matrix(arrays.inputs.panels[layer - 1])
        np.testing.assert_array_equal(found[:outputs], plain[f"layers.{layer}.weight_ih_l0"])
        assert (found[outputs:] == 0).all()
    assert arrays.head.panels.shape == (1, 20, 64)
    np.testing.assert_array_equal(matrix(arrays.head.panels)[:5], plain["head.weight"])
    assert (matrix(arrays.head.panels)[5:] == 0).all()
    for panels in (arrays.recurrent, arrays.inputs):
        # Empty, a row a layer: that is how the compiled loop tells float32 from int8.
        assert panels.start.shape == panels.scale.shape == (len(panels.panels), 0)
        assert (panels.start.dtype, panels.scale.dtype) == (np.int32, np.float32)
    assert arrays.head.start.shape == arrays.head.scale.shape == (0,)


def test_a_model_of_one_layer_gives_its_recurrent_panels_as_inputs() -> None:
    weights, _ = made(num_layers=1)
    assert weights.arrays.inputs is weights.arrays.recurrent
    two, _ = made(num_layers=2)
    assert two.arrays.inputs is not two.arrays.recurrent
    assert len(two.arrays.inputs.panels) == 1


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_biases_join_where_they_can(cell: str) -> None:
    weights, plain = made(cell, num_layers=2)
    outputs = CELLS[cell].gates * 20
    for layer in (0, 1):
        joined = plain[f"layers.{layer}.bias_ih_l0"] + plain[f"layers.{layer}.bias_hh_l0"]
        np.testing.assert_array_equal(weights.arrays.input_bias[layer, :outputs], joined)
    assert (weights.arrays.input_bias[:, outputs:] == 0).all()
    assert weights.arrays.recurrent_bias.shape == (2, weights.outputs)
    assert (weights.arrays.recurrent_bias == 0).all()


def test_a_grus_biases_stay_apart() -> None:
    weights, plain = made("gru", num_layers=2)
    for layer in (0, 1):
        for ours, name in (
            (weights.arrays.input_bias, "bias_ih_l0"),
            (weights.arrays.recurrent_bias, "bias_hh_l0"),
        ):
            np.testing.assert_array_equal(ours[layer, :60], plain[f"layers.{layer}.{name}"])
            assert (ours[layer, 60:] == 0).all()


def test_the_heads_bias_is_padded() -> None:
    weights, plain = made(vocab_size=65)
    assert weights.arrays.head_bias.shape == (128,)
    np.testing.assert_array_equal(weights.arrays.head_bias[:65], plain["head.bias"])
    assert (weights.arrays.head_bias[65:] == 0).all()
    assert weights.arrays.head.panels.shape == (2, 20, 64)


def test_the_table_has_a_row_for_each_token() -> None:
    weights, plain = made("gru")
    expected = plain["layers.0.weight_ih_l0"].T + plain["layers.0.bias_ih_l0"]
    assert weights.arrays.table.shape == (5, 64)
    np.testing.assert_array_equal(weights.arrays.table[:, :60], expected)
    assert (weights.arrays.table[:, 60:] == 0).all()


def test_an_embeddings_table_is_summed_in_order() -> None:
    weights, plain = made("rnn", embedding_size=9)
    embedding = plain["embedding.weight"]
    columns = plain["layers.0.weight_ih_l0"].T
    bias = plain["layers.0.bias_ih_l0"] + plain["layers.0.bias_hh_l0"]
    expected = np.zeros((5, 20), np.float32)
    for token in range(5):
        for unit in range(20):
            total = np.float32(0)
            for k in range(9):
                total = total + embedding[token, k] * columns[k, unit]
            expected[token, unit] = total + bias[unit]
    np.testing.assert_array_equal(weights.arrays.table[:, :20], expected)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_any_floats_are_laid_out_as_float32(kind: Any, precision: str) -> None:
    weights, plain = made(precision=precision, kind=kind)
    again = Weights(
        weights.config,
        {name: value.astype(np.float32) for name, value in plain.items()},
        weights.precision,
    )
    for array, same in zip(every_array(weights), every_array(again), strict=True):
        np.testing.assert_array_equal(array, same)


def every_array(weights: Weights) -> list[np.ndarray]:
    flat: list[np.ndarray] = []
    for value in weights.arrays:
        flat += value if isinstance(value, Panels) else [value]
    return flat


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("layers", [1, 2])
def test_every_array_is_read_only_and_row_by_row(precision: str, layers: int) -> None:
    weights, plain = made(precision=precision, num_layers=layers, embedding_size=3)
    arrays = every_array(weights)
    assert len(arrays) == 4 + 3 * 3
    for array in arrays:
        assert not array.flags.writeable
        assert array.flags.c_contiguous
    floats = {"table", "input_bias", "recurrent_bias", "head_bias"}
    for name in floats:
        assert getattr(weights.arrays, name).dtype == np.float32
    for panels in (weights.arrays.recurrent, weights.arrays.inputs, weights.arrays.head):
        assert panels.panels.dtype == (np.int8 if precision == "int8" else np.float32)
        assert (panels.start.dtype, panels.scale.dtype) == (np.int32, np.float32)
    # The model's own arrays stay as they were.
    assert all(value.flags.writeable for value in plain.values())


def test_int8_by_hand() -> None:
    config = ModelConfig(vocab_size=3, cell="rnn", num_layers=1, hidden_size=5)
    weights = random_weights(config)
    weights["head.weight"] = np.array(
        [[0.127, -0.05, 0.0004, 0.0, 0.01], [0, 0, 0, 0, 0], [-254.0, 1, 3, 0, 127]], np.float32
    )
    head = Weights(config, weights, "int8").arrays.head
    assert head.panels.shape == (1, 2, 64, 4)  # 5 inputs are two groups of 4
    whole = int8_matrix(head.panels)
    # By rows the steps are 0.001, 1/127 (all zero) and 2.
    assert whole[0].tolist() == [127, -50, 0, 0, 10, 0, 0, 0]
    assert whole[1].tolist() == [0] * 8
    # 0.5 and 1.5 steps are rounded to the even neighbour, 63.5 too.
    assert whole[2].tolist() == [-127, 0, 2, 0, 64, 0, 0, 0]
    assert (whole[3:] == 0).all()
    assert head.start[:3].tolist() == [-128 * 87, 0, -128 * -61]
    assert (head.start[3:] == 0).all()
    assert head.start.shape == head.scale.shape == (64,)
    np.testing.assert_allclose(head.scale[:3], [0.001 / 127, 1 / 127**2, 2 / 127], rtol=1e-6)
    assert (head.scale[3:] == 0).all()


def test_int8_stacks_are_quantised_layer_by_layer() -> None:
    weights, plain = made("gru", "int8", num_layers=3)
    arrays = weights.arrays
    assert arrays.recurrent.panels.shape == (3, 1, 5, 64, 4)
    assert arrays.recurrent.start.shape == arrays.recurrent.scale.shape == (3, 64)
    assert arrays.inputs.panels.shape == (2, 1, 5, 64, 4)
    stacks = [(arrays.recurrent, "hh", 0), (arrays.inputs, "ih", 1)]
    for stack, name, first in stacks:
        for index in range(len(stack.panels)):
            weight = plain[f"layers.{first + index}.weight_{name}_l0"]
            whole = int8_matrix(stack.panels[index])[:60]
            largest = abs(weight).max(axis=1)
            np.testing.assert_allclose(stack.scale[index, :60], largest / 127**2, rtol=1e-6)
            np.testing.assert_allclose(
                whole * (largest / 127)[:, None], weight, atol=0.5001 * largest.max() / 127
            )
            assert (abs(whole).max(axis=1) == 127).all()
            sums = whole.sum(axis=1, dtype=np.int64)
            np.testing.assert_array_equal(stack.start[index, :60], -128 * sums)


@given(st.integers(1, 9), st.integers(1, 70))
@settings(max_examples=25, deadline=None)
def test_quantised_weights_are_within_half_a_step(symbols: int, size: int) -> None:
    config = ModelConfig(vocab_size=symbols, num_layers=1, hidden_size=size)
    weights = random_weights(config)
    panels, start, scale = Weights(config, weights, "int8").arrays.head
    weight = weights["head.weight"]
    whole = int8_matrix(panels)[:symbols, :size].astype(np.float64)
    steps = scale[:symbols, None].astype(np.float64) * 127
    assert abs(whole * steps - weight).max() <= 0.5001 * steps.max()
    assert (start[:symbols] == -128 * whole.sum(axis=1)).all()


def test_int8_needs_a_bounded_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CELLS, "rnn", replace(CELLS["rnn"], bounded_output=False))
    with pytest.raises(InputError) as caught:
        made("rnn", "int8")
    assert str(caught.value) == "cell rnn has no bounded output; sample it in fp32."
    made("rnn", "fp32")
    made("gru", "int8")
