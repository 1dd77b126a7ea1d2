"""How often gates are saturated: the scatter of Karpathy, Johnson and Fei-Fei (2015).

Shapes: T symbols, L layers, H units, G gates.
"""

from __future__ import annotations

import numpy as np

from pipeline.engine.weights import Panels, Weights
from pipeline.explaining.page_text import PageText, Saturation
from pipeline.model.artifact import ModelArtifact, load_weights

LEFT = 0.1
RIGHT = 0.9
# The gates that are sigmoids, by cell, with their places in torch.nn's order.
GATES = {
    "lstm": {"input": 0, "forget": 1, "output": 3},
    "gru": {"reset": 0, "update": 1},
    "rnn": {},
}


def saturation(model: ModelArtifact, text: PageText) -> tuple[Saturation, ...]:
    """Each sigmoid gate of each layer, over the text."""
    loaded = load_weights(model.files, model.uri)
    weights = Weights(loaded.about.model, loaded.weights, "int8")
    rows = []
    for layer in range(len(text.hidden)):
        inputs = before_gates(weights, text, layer)
        for name, place in GATES[weights.config.cell].items():
            size = weights.config.hidden_size
            gate = _sigmoid(inputs[:, place * size : (place + 1) * size])
            left = (gate < LEFT).mean(axis=0)
            right = (gate > RIGHT).mean(axis=0)
            rows.append(Saturation(gate=name, layer=layer, left=left, right=right))
    return tuple(rows)


def before_gates(weights: Weights, text: PageText, layer: int) -> np.ndarray:
    """What a layer's gates are functions of, (T, G H): right for sigmoid gates, whose two products
    add up in every cell.
    """
    arrays = weights.arrays
    count = weights.config.traits.gates * weights.config.hidden_size
    if layer == 0:
        total = arrays.table[text.tokens]
    else:
        below = text.hidden[layer - 1].T
        total = arrays.input_bias[layer] + _product(below, arrays.inputs, layer - 1)
    own = text.hidden[layer].T
    before = np.concatenate([np.zeros_like(own[:1]), own[:-1]])
    total = total + arrays.recurrent_bias[layer] + _product(before, arrays.recurrent, layer)
    return total[:, :count]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # By tanh, which does not overflow as exp does.
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _product(x: np.ndarray, stack: Panels, layer: int) -> np.ndarray:
    """x (T, H) of int8 times a layer's matrix: whole numbers in float32, then scaled."""
    panels = stack.panels[layer]
    count, groups, columns, group = panels.shape
    matrix = panels.transpose(1, 3, 0, 2).reshape(groups * group, count * columns)
    return (x.astype(np.float32) @ matrix[: x.shape[1]].astype(np.float32)) * stack.scale[layer]
