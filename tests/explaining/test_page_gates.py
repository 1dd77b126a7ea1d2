"""How often gates are saturated, against a network whose gates are known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.engine.opening import open_engine
from pipeline.explaining.page_gates import before_gates, saturation
from pipeline.explaining.page_text import feed_one, read_text
from tests.explaining.models import artifact

TEXT = b"the quick brown fox jumps over the lazy dog. "


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_what_gates_are_functions_of_is_what_the_engine_has(cell: str) -> None:
    model = artifact(cell, scale=2.0)
    engine = open_engine(model, "int8")
    read = read_text(model, TEXT, "text")
    lanes = engine.lanes(1)
    for token in read.tokens:
        feed_one(lanes, token)
    last = before_gates(engine.weights, read, 1)[-1]
    # The engine leaves the last layer's gates in its buffer.
    assert np.allclose(last, lanes.buffers.gates[0, : len(last)], atol=1e-5)


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 3), ("gru", 2), ("rnn", 0)])
def test_each_sigmoid_gate_of_each_layer_has_a_row(cell: str, gates: int) -> None:
    model = artifact(cell)
    rows = saturation(model, read_text(model, TEXT, "text"))
    assert len(rows) == 2 * gates
    for row in rows:
        assert ((row.left + row.right) <= 1).all()


def test_large_weights_saturate_more_gates() -> None:
    shares = []
    for scale in (1.0, 20.0):
        model = artifact(scale=scale)
        rows = saturation(model, read_text(model, TEXT, "text"))
        shares.append(np.mean([row.left.mean() + row.right.mean() for row in rows]))
    assert shares[0] < 0.2 < shares[1]
