from __future__ import annotations

import numpy as np
import pytest

from pipeline.counter_rng import GOLDEN, MIX1, MIX2, key_of, mix, uniforms

# First outputs of the reference implementation (Vigna) for two seeds.
WORDS = {
    0: [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F],
    1234567: [6457827717110365317, 3203168211198807973, 9817491932198370423],
}


def test_the_constants_are_splitmix64s() -> None:
    assert (GOLDEN, MIX1, MIX2) == (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@pytest.mark.parametrize("seed", WORDS)
def test_numbers_are_splitmix64(seed: int) -> None:
    words = WORDS[seed]
    assert [mix(seed + n * GOLDEN) for n in (1, 2, 3)] == words
    fractions = [(word >> 11) * 2.0**-53 for word in words]
    np.testing.assert_array_equal(uniforms([seed], 0, 3), [fractions])


def test_the_finaliser_takes_64_bits() -> None:
    assert mix(0) == 0
    assert mix(1) == 0x5692161D100B05E5
    assert mix(1 << 64 | 1) == mix(1)
    assert mix(-1) == mix((1 << 64) - 1)
    assert all(0 <= mix(value) < 1 << 64 for value in (1, GOLDEN, (1 << 64) - 1))


def test_a_key_follows_from_its_parts_in_order() -> None:
    assert key_of() == 0
    assert key_of(0) == WORDS[0][0]
    assert key_of(1234567) == WORDS[1234567][0]
    assert key_of(1, 2) == mix(mix(GOLDEN + 1) + GOLDEN + 2)
    assert key_of(1, 2) != key_of(2, 1)
    assert key_of(1) != key_of(1, 0)


def test_numbers_depend_on_key_and_position_alone() -> None:
    keys = [key_of(1, 2), key_of(2, 1)]
    whole = uniforms(keys, 0, 100)
    assert whole.shape == (2, 100)
    assert whole.dtype == np.float64
    np.testing.assert_array_equal(whole[:, 30:70], uniforms(keys, 30, 40))
    np.testing.assert_array_equal(whole[1:], uniforms(keys[1:], 0, 100))
    assert (whole[0] != whole[1]).all()
    assert uniforms(keys, 5, 0).shape == (2, 0)


def test_numbers_are_uniform() -> None:
    numbers = uniforms([key_of(seed) for seed in range(100)], 0, 1000)
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    assert abs(counts - 10_000).max() < 500  # five standard deviations
