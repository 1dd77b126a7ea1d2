"""Counter-based random numbers: the n-th number of a key, whoever asks and in whatever order.

SplitMix64 (Steele, Lea and Flood 2014): word n of a key is the finaliser of key + n times the
golden gamma. Words count from 1, so that a key of 0 does not begin with 0.
"""

from __future__ import annotations

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio, odd
MIX1 = 0xBF58476D1CE4E5B9
MIX2 = 0x94D049BB133111EB
_WORD = (1 << 64) - 1


def mix(value: int) -> int:
    """SplitMix64's finaliser, on 64 bits of a Python integer."""
    value &= _WORD
    value = (value ^ (value >> 30)) * MIX1 & _WORD
    value = (value ^ (value >> 27)) * MIX2 & _WORD
    return value ^ (value >> 31)


def key_of(*parts: int) -> int:
    """One 64-bit key from several integers, in order."""
    key = 0
    for part in parts:
        key = mix(key + GOLDEN + part)
    return key


def uniforms(keys: list[int], start: int, count: int) -> np.ndarray:
    """Uniform numbers in [0, 1) with 53 bits: float64 (len(keys), count).

    Each key's numbers `start` to `start` + `count`, counted from 0.
    """
    counters = np.arange(start + 1, start + count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    words = np.array(keys, np.uint64)[:, None] + counters  # wraps at 2**64, as it should
    # The same steps as `mix`, on arrays.
    words ^= words >> np.uint64(30)
    words *= np.uint64(MIX1)
    words ^= words >> np.uint64(27)
    words *= np.uint64(MIX2)
    words ^= words >> np.uint64(31)
    # A double holds 53 bits: the upper ones, as a fraction.
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
