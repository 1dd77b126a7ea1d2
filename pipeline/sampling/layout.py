"""A model's weights as the engine's compiled loop reads them: in panels, in float32 or int8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.sampling.kernels import GRU, LSTM, RNN
from pipeline.sampling.tiles import COLUMNS, GROUP
from pipeline.training.config import GATES

if TYPE_CHECKING:  # actors get a layout ready made, and need no torch
    from pipeline.training.model import CharRNN

KINDS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
STEPS = 127  # int8 values to either side of zero

Precision = Literal["fp32", "int8"]
Matrix = tuple[np.ndarray, np.ndarray, np.ndarray]  # panels, start, scale: the latter two empty in float32


def padded(count: int, multiple: int) -> int:
    """The least multiple that is not below count."""
    return -(-count // multiple) * multiple


class Layout:
    """Weights of one model, read-only: any number of lanes and threads may read them, and processes, from shared memory.

    G gates of H units are N outputs, padded to whole panels. The first layer's input product is a table by token.
    """

    def __init__(self, model: CharRNN, precision: Precision) -> None:
        weights = {name: value.detach().float().cpu().numpy() for name, value in model.state_dict().items()}
        config = model.config
        self.kind, self.precision, self.layers = KINDS[config.cell], precision, config.num_layers
        self.hidden_size, self.symbols = config.hidden_size, config.vocab_size
        self.outputs = padded(GATES[config.cell] * self.hidden_size, COLUMNS)
        names = [f"layers.{layer}." for layer in range(self.layers)]
        own = np.stack([_row(weights[f"{name}bias_ih_l0"], self.outputs) for name in names])
        recurrent = np.stack([_row(weights[f"{name}bias_hh_l0"], self.outputs) for name in names])
        if config.cell != "gru":  # whose candidate keeps the two products apart
            own, recurrent = own + recurrent, np.zeros_like(recurrent)
        first = weights["layers.0.weight_ih_l0"].T  # (symbols or embedding, N)
        table = first if model.embedding is None else _in_order(weights["embedding.weight"], first)
        padding = self.outputs - table.shape[1]
        self.table = np.ascontiguousarray(np.pad(table, ((0, 0), (0, padding))) + own[0])
        self.biases = (own, recurrent, _row(weights["head.bias"], padded(self.symbols, COLUMNS)))
        above = names[1:] or names[:1]  # a model of one layer has no use for it
        self.recurrent = self._stack([weights[f"{name}weight_hh_l0"] for name in names])
        self.inputs = self._stack([weights[f"{name}weight_ih_l0"] for name in above]) if names[1:] else self.recurrent
        self.head = self._matrix(weights["head.weight"])
        for array in [self.table, *self.biases, *self.recurrent, *self.inputs, *self.head]:
            array.setflags(write=False)  # as they come out of shared memory: numba compiles for either kind

    @property
    def arrays(self) -> tuple[Any, ...]:
        """What kernels.feed takes as weights."""
        return self.table, self.biases, self.recurrent, self.inputs, self.head

    def _stack(self, weights: list[np.ndarray]) -> Matrix:
        panels, start, scale = zip(*map(self._matrix, weights), strict=True)
        return np.stack(panels), np.stack(start), np.stack(scale)

    def _matrix(self, weight: np.ndarray) -> Matrix:
        """A weight (N, K) of torch's layout in panels."""
        outputs, inputs = weight.shape
        columns = padded(outputs, COLUMNS)
        if self.precision == "fp32":
            rows = np.pad(weight, ((0, columns - outputs), (0, 0)))
            panels = np.ascontiguousarray(rows.reshape(-1, COLUMNS, inputs).transpose(0, 2, 1))
            return panels, np.zeros(0, np.int32), np.zeros(0, np.float32)
        largest = np.abs(weight).max(axis=1, keepdims=True)
        steps = np.where(largest > 0, largest, 1) / np.float32(STEPS)
        whole = np.rint(weight / steps).astype(np.int8)
        whole = np.pad(whole, ((0, columns - outputs), (0, padded(inputs, GROUP) - inputs)))
        bytewise = np.ascontiguousarray(whole.reshape(columns // COLUMNS, COLUMNS, -1, GROUP).transpose(0, 2, 1, 3))
        start = -128 * whole.sum(axis=1, dtype=np.int32)  # activations are read with 128 added
        return bytewise, start, _row(steps[:, 0] / np.float32(STEPS), columns)


def _in_order(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a (M, K) @ b (K, N), summed in order of k: a library's product has another order on another processor."""
    total = np.zeros((len(a), b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        total += a[:, k, None] * b[k]
    return total


def _row(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, (0, length - len(values))).astype(np.float32)
