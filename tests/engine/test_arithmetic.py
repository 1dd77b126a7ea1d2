"""tanh, sigmoid, exp and random numbers of the engine against numpy's, in float64."""

from __future__ import annotations

import math

import numpy as np

from pipeline.counter_rng import uniforms
from pipeline.engine import arithmetic


def test_tanh_and_sigmoid_are_near_the_functions() -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e30, -9, 0, 9, 1e30]]).astype(np.float32)
    ours = np.array([arithmetic.tanh(value) for value in x])
    assert abs(ours - np.tanh(x.astype(np.float64))).max() < 4.5e-7
    # Not above 1 by more than the last bit: as an int8 activation it must not wrap round.
    assert np.float32(abs(ours).max()) <= np.nextafter(np.float32(1), np.float32(2))
    sigmoid = np.array([arithmetic.sigmoid(value) for value in x])
    assert abs(sigmoid - 1 / (1 + np.exp(-np.clip(x, -80, 80).astype(np.float64)))).max() < 3e-7


def test_exp_is_near_the_function_and_zero_far_below() -> None:
    x = -np.concatenate([np.linspace(0, 699.9, 5000), np.geomspace(1e-9, 1, 100)])
    ours = np.array([arithmetic.exp(value) for value in x])
    np.testing.assert_allclose(ours, np.exp(x), rtol=5e-16)
    assert arithmetic.exp(0.0) == 1.0
    for value in (-700.0, -701.0, -1e9, -math.inf):
        assert arithmetic.exp(value) == 0.0
    assert arithmetic.exp(-699.999) > 0


def test_random_numbers_are_the_counters() -> None:
    keys = [0, 1, 2**63, 2**64 - 1]
    expected = uniforms(keys, 0, 50)
    for row, key in zip(expected, keys, strict=True):
        ours = [arithmetic.uniform(np.uint64(key), position) for position in range(50)]
        assert ours == row.tolist()
