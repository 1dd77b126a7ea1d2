"""The functions that the engine computes with: tanh, sigmoid, exp and a lane's random number.

Each is written out in IEEE operations in one order. A library's own differ in their last bits from
one processor or version to the next, and with them a sampled text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from pipeline.counter_rng import GOLDEN, MIX1, MIX2
from pipeline.engine.compiling import compiled

# tanh(x) = x P(x^2) / Q(x^2) on |x| < 9, fitted by reweighted least squares; 4e-7 from the function
# at most.
TANH_LIMIT = np.float32(9)
_HALF = np.float32(0.5)
TANH_P = tuple(
    map(
        np.float32, (1.31844645e-08, 2.04720216e-05, 3.48659425e-03, 1.33732084e-01, 9.99999906e-01)
    )
)
TANH_Q = tuple(
    map(np.float32, (7.70276715e-07, 3.27140507e-04, 2.5842027e-02, 4.67065052e-01, 1.0))
)

LOG2E = 1.4426950408889634
# ln 2 in two parts: the first has zeros at its end, so that its multiples by whole numbers are
# exact.
LN2_HIGH = 0.693147180369123816490
LN2_LOW = 1.90821492927058770002e-10
EXP_LOWEST = -700.0  # below, exp is 0: its exponent would leave the normal numbers at -708
TAYLOR = tuple(1.0 / np.cumprod([1.0, *range(1, 13)])[::-1])  # of exp, highest power first


@compiled
def tanh(x: Any) -> Any:
    x = TANH_LIMIT if x > TANH_LIMIT else x
    x = -TANH_LIMIT if x < -TANH_LIMIT else x
    s = x * x
    p = (((TANH_P[0] * s + TANH_P[1]) * s + TANH_P[2]) * s + TANH_P[3]) * s + TANH_P[4]
    q = (((TANH_Q[0] * s + TANH_Q[1]) * s + TANH_Q[2]) * s + TANH_Q[3]) * s + TANH_Q[4]
    return x * p / q


@compiled
def sigmoid(x: Any) -> Any:
    return _HALF * tanh(_HALF * x) + _HALF


@intrinsic
def _power_of_two(typing: Any, exponent: Any) -> Any:
    """2.0 ** exponent, for whole exponents of normal numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        biased = builder.add(args[0], ir.Constant(ir.IntType(64), 1023))
        shifted = builder.shl(biased, ir.Constant(ir.IntType(64), 52))
        return builder.bitcast(shifted, ir.DoubleType())

    return types.float64(types.int64), generate


@compiled
def exp(x: float) -> float:
    """exp of a number that is not positive, within two units in the last place; 0 below -700."""
    clipped = x if x > EXP_LOWEST else EXP_LOWEST
    k = np.floor(clipped * LOG2E + 0.5)
    r = (clipped - k * LN2_HIGH) - k * LN2_LOW
    value = TAYLOR[0]
    for index in range(1, len(TAYLOR)):
        value = value * r + TAYLOR[index]
    return value * _power_of_two(np.int64(k)) if x > EXP_LOWEST else 0.0  # type: ignore[call-arg]


@compiled
def uniform(key: Any, position: int) -> float:
    """Number `position` of a key, in [0, 1): counter_rng.uniforms, one at a time."""
    word = key + np.uint64(position + 1) * np.uint64(GOLDEN)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(MIX1)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(MIX2)
    word ^= word >> np.uint64(31)
    return float(word >> np.uint64(11)) * 2.0**-53
