"""A model's weights as the engine's compiled loop reads them: in panels, in float32 or int8.

Shapes: V vocab, E embedding, H hidden, L layers, G gates. N = G H outputs of a layer, padded to
whole panels. A panel has COLUMNS outputs. P panels of K inputs are (P, K, COLUMNS) in float32, (P,
K / GROUP, COLUMNS, GROUP) in int8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.engine.tiles import COLUMNS, GROUP
from pipeline.errors import InputError
from pipeline.model.about import Precision
from pipeline.model.config import ModelConfig

STEPS = 127  # int8 values to either side of zero


class Panels(NamedTuple):
    """One matrix, or a stack of them. `start` and `scale` are int8's, by output; both are empty in
    float32.

    An output is (sum over inputs of (x + 128) * weight + start) * scale: `start` takes back the 128
    that makes activations unsigned, as the instruction wants them, and `scale` undoes both
    quantisations.
    """

    panels: np.ndarray
    start: np.ndarray
    scale: np.ndarray


class WeightArrays(NamedTuple):
    """All that one step reads. The first layer's input product is a table by token (V, N), its
    biases added.

    Biases by layer (L, N); where they can be added up front the recurrent ones are zero.
    `recurrent` (L matrices), `inputs` of layers 1 and up (L - 1; a model of one layer has no use
    for it and gives its recurrent ones), `head`.
    """

    table: np.ndarray
    input_bias: np.ndarray
    recurrent_bias: np.ndarray
    head_bias: np.ndarray
    recurrent: Panels
    inputs: Panels
    head: Panels


class Weights:
    """Weights of one model, read-only: any number of lanes and threads may read them, and
    processes, from shared memory.

    Raises InputError for int8 where the cell's output is not bounded: its activations have a fixed
    scale.
    """

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, np.ndarray], precision: Precision
    ) -> None:
        cell = config.traits
        if precision == "int8" and not cell.bounded_output:
            raise InputError(f"cell {config.cell} has no bounded output; sample it in fp32.")
        self.config = config
        self.precision: Precision = precision
        self.outputs = padded(cell.gates * config.hidden_size, COLUMNS)
        weights = {name: np.asarray(value, np.float32) for name, value in weights.items()}
        layers = [f"layers.{layer}." for layer in range(config.num_layers)]
        input_bias = np.stack(
            [_padded_row(weights[f"{layer}bias_ih_l0"], self.outputs) for layer in layers]
        )
        recurrent_bias = np.stack(
            [_padded_row(weights[f"{layer}bias_hh_l0"], self.outputs) for layer in layers]
        )
        if cell.biases_join:
            input_bias = input_bias + recurrent_bias
            recurrent_bias = np.zeros_like(recurrent_bias)
        recurrent = self._stack([weights[f"{layer}weight_hh_l0"] for layer in layers])
        inputs = recurrent
        if len(layers) > 1:
            inputs = self._stack([weights[f"{layer}weight_ih_l0"] for layer in layers[1:]])
        self.arrays = WeightArrays(
            table=self._table(weights, input_bias[0]),
            input_bias=input_bias,
            recurrent_bias=recurrent_bias,
            head_bias=_padded_row(weights["head.bias"], padded(config.vocab_size, COLUMNS)),
            recurrent=recurrent,
            inputs=inputs,
            head=self._panels(weights["head.weight"]),
        )
        for array in _every_array(self.arrays):
            # As they come out of shared memory: numba compiles for read-only arrays and for others
            # apart.
            array.setflags(write=False)

    def _table(self, weights: Mapping[str, np.ndarray], bias: np.ndarray) -> np.ndarray:
        """The first layer's input product of every token, (V, N)."""
        columns = weights["layers.0.weight_ih_l0"].T  # (V or E, G H)
        if self.config.embedding_size:
            columns = _product_in_order(weights["embedding.weight"], columns)
        padding = self.outputs - columns.shape[1]
        return np.ascontiguousarray(np.pad(columns, ((0, 0), (0, padding))) + bias)

    def _stack(self, matrices: list[np.ndarray]) -> Panels:
        layers = [self._panels(matrix) for matrix in matrices]
        return Panels(
            panels=np.stack([layer.panels for layer in layers]),
            start=np.stack([layer.start for layer in layers]),
            scale=np.stack([layer.scale for layer in layers]),
        )

    def _panels(self, weight: np.ndarray) -> Panels:
        """A weight (N, K) of torch's layout in panels."""
        outputs, inputs = weight.shape
        columns = padded(outputs, COLUMNS)
        count = columns // COLUMNS
        more_rows = (0, columns - outputs)
        if self.precision == "fp32":
            rows = np.pad(weight, (more_rows, (0, 0)))
            panels = np.ascontiguousarray(rows.reshape(count, COLUMNS, inputs).transpose(0, 2, 1))
            return Panels(panels, np.zeros(0, np.int32), np.zeros(0, np.float32))
        # A scale of its own for each output: one large weight costs the others no precision.
        largest = np.abs(weight).max(axis=1, keepdims=True)
        steps = np.where(largest > 0, largest, 1) / np.float32(STEPS)
        whole = np.rint(weight / steps).astype(np.int8)
        groups = padded(inputs, GROUP) // GROUP
        whole = np.pad(whole, (more_rows, (0, groups * GROUP - inputs)))
        grouped = whole.reshape(count, COLUMNS, groups, GROUP).transpose(0, 2, 1, 3)
        start = -128 * whole.sum(axis=1, dtype=np.int32)
        scale = _padded_row(steps[:, 0] / np.float32(STEPS), columns)
        return Panels(np.ascontiguousarray(grouped), start, scale)


def padded(count: int, multiple: int) -> int:
    """The least multiple that is not below count."""
    return -(-count // multiple) * multiple


def _product_in_order(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a (M, K) @ b (K, N), summed in order of k: a library's product has another order on another
    processor.
    """
    total = np.zeros((len(a), b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        total += a[:, k, None] * b[k]
    return total


def _padded_row(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, (0, length - len(values))).astype(np.float32)


def _every_array(arrays: WeightArrays) -> list[np.ndarray]:
    flat: list[np.ndarray] = []
    for value in arrays:
        flat += value if isinstance(value, Panels) else [value]
    return flat
