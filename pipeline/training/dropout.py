"""Dropout masks that depend only on (seed, step, layer, lane): the same for any number of workers,
on any device.

Bits come from SplitMix64 as a counter generator (counter_rng.py), computed on the device; 16 of
them decide one unit.
"""

from __future__ import annotations

import torch

from pipeline.counter_rng import GOLDEN, MIX1, MIX2, key_of


def dropout_mask(
    like: torch.Tensor, lanes: range, rate: float, seed: int, step: int, layer: int
) -> torch.Tensor:
    """A mask for outputs (T, B, H): 0 with probability `rate` (to 1/65536), else 1 / (1 - rate).

    Column b belongs to global lane lanes[b].
    """
    time, batch, hidden = like.shape
    keys = [_signed(key_of(seed, step, layer, lane)) for lane in lanes]
    words = -(-time * hidden // 4)
    counters = torch.arange(1, words + 1, dtype=torch.int64, device=like.device).mul_(
        _signed(GOLDEN)
    )
    bits = counters + torch.tensor(keys, dtype=torch.int64, device=like.device).unsqueeze(
        1
    )  # (B, words)
    bits = _mixed(bits).view(torch.int16)[:, : time * hidden].view(batch, time, hidden)
    keep = bits >= round(rate * 65536) - 32768
    return keep.transpose(0, 1).to(like.dtype).mul_(1 / (1 - rate))  # (T, B, H)


def _mixed(bits: torch.Tensor) -> torch.Tensor:
    for shift, factor in ((30, MIX1), (27, MIX2)):
        bits ^= (bits >> shift).bitwise_and_(
            (1 << (64 - shift)) - 1
        )  # a logical shift: int64 has only the arithmetic one
        bits *= _signed(factor)
    bits ^= (bits >> 31).bitwise_and_((1 << 33) - 1)
    return bits


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
