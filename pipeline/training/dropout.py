"""Dropout masks that depend on seed, step, layer and lane alone.

They are the same for any number of workers, on any device.
Bits come from SplitMix64 as a counter generator (counter_rng.py), computed on the device; 16 of
them decide one unit. Shapes: T time, B lanes, H hidden.
"""

from __future__ import annotations

import torch

from pipeline.counter_rng import GOLDEN, MIX1, MIX2, key_of

_UNITS_A_WORD = 4  # a word has 64 bits, a unit takes 16
_LEVELS = 1 << 16  # values of 16 bits
_LOWEST = -(1 << 15)  # the lowest of them, read as a signed number


def dropout_mask(
    like: torch.Tensor, lanes: range, rate: float, seed: int, step: int, layer: int
) -> torch.Tensor:
    """A mask for outputs (T, B, H): 0 with probability `rate` (to 1/65536), else 1 / (1 - rate).

    Column b belongs to global lane lanes[b].
    """
    time, batch, hidden = like.shape
    units = time * hidden
    words = -(-units // _UNITS_A_WORD)  # rounded up
    # torch has no unsigned 64-bit arithmetic. Sums and products of int64 wrap around to the same
    # bits, so the generator's words are read as signed numbers throughout.
    counters = torch.arange(1, words + 1, dtype=torch.int64, device=like.device)
    counters.mul_(_signed(GOLDEN))
    lane_keys = [_signed(key_of(seed, step, layer, lane)) for lane in lanes]
    keys = torch.tensor(lane_keys, dtype=torch.int64, device=like.device)
    bits = _mixed(counters + keys.unsqueeze(1))  # (B, words)
    bits = bits.view(torch.int16)[:, :units].view(batch, time, hidden)
    keep = bits >= round(rate * _LEVELS) + _LOWEST
    return keep.transpose(0, 1).to(like.dtype).mul_(1 / (1 - rate))  # (T, B, H)


def _mixed(bits: torch.Tensor) -> torch.Tensor:
    """SplitMix64's finaliser (counter_rng.mix) on every element, in place."""
    bits ^= _shifted(bits, 30)
    bits *= _signed(MIX1)
    bits ^= _shifted(bits, 27)
    bits *= _signed(MIX2)
    bits ^= _shifted(bits, 31)
    return bits


def _shifted(bits: torch.Tensor, places: int) -> torch.Tensor:
    """A logical shift to the right: int64 has only the arithmetic one, which repeats the sign."""
    return (bits >> places).bitwise_and_((1 << (64 - places)) - 1)


def _signed(word: int) -> int:
    """A 64-bit word as the int64 of the same bits."""
    is_negative = word >> 63
    return word - (1 << 64) if is_negative else word
