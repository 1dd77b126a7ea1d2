from __future__ import annotations

import numpy as np

from pipeline.counter_rng import key_of, uniforms


def test_numbers_depend_on_key_and_position_alone() -> None:
    keys = [key_of(1, 2), key_of(2, 1)]
    whole = uniforms(keys, 0, 100)
    np.testing.assert_array_equal(whole[:, 30:70], uniforms(keys, 30, 40))
    np.testing.assert_array_equal(whole[1:], uniforms(keys[1:], 0, 100))
    assert (whole[0] != whole[1]).all()


def test_numbers_are_splitmix64() -> None:
    # First outputs of the reference implementation (Vigna) for seed 0.
    words = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    np.testing.assert_array_equal(uniforms([0], 0, 3)[0], [(word >> 11) * 2.0**-53 for word in words])


def test_numbers_are_uniform() -> None:
    numbers = uniforms([key_of(seed) for seed in range(100)], 0, 1000)
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    assert abs(counts - 10_000).max() < 500  # five standard deviations
