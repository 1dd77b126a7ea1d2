from __future__ import annotations

import torch

from pipeline.counter_rng import key_of, uniforms
from pipeline.training.dropout import dropout_mask


def test_a_lanes_mask_does_not_depend_on_who_computes_it() -> None:
    whole = dropout_mask(torch.empty(9, 10, 7), range(10), 0.3, seed=1, step=5, layer=0)
    part = dropout_mask(torch.empty(9, 3, 7), range(4, 7), 0.3, seed=1, step=5, layer=0)
    assert torch.equal(whole[:, 4:7], part)


def test_masks_differ_by_seed_step_layer_and_lane() -> None:
    like = torch.empty(20, 2, 30)
    masks = [
        dropout_mask(like, range(2), 0.5, seed, step, layer)
        for seed, step, layer in [(1, 1, 0), (2, 1, 0), (1, 2, 0), (1, 1, 1)]
    ]
    flat = [mask[:, lane].flatten() for mask in masks for lane in range(2)]
    for i, one in enumerate(flat):
        for other in flat[:i]:
            assert 0.4 < (one == other).float().mean() < 0.6


def test_the_rate_is_kept_and_the_mean_is_one() -> None:
    mask = dropout_mask(torch.empty(100, 50, 64), range(50), 0.2, seed=1, step=1, layer=0)
    assert abs((mask == 0).float().mean() - 0.2) < 0.003
    assert torch.allclose(mask.max(), torch.tensor(1.25))


def test_the_bits_are_those_of_the_shared_generator() -> None:
    mask = dropout_mask(torch.empty(1, 1, 8), range(1), 0.5, seed=3, step=4, layer=5)
    words = (uniforms([key_of(3, 4, 5, 0)], 0, 2)[0] * 2**53).astype("uint64")
    top = [
        (int(word) >> (53 - 16)) & 0xFFFF for word in words
    ]  # the highest 16 bits are the last of four
    assert [bool(mask[0, 0, index] > 0) for index in (3, 7)] == [bit < 0x8000 for bit in top]
