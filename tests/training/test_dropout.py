"""Dropout masks are the generator's bits, whoever computes them."""

from __future__ import annotations

import pytest
import torch

from pipeline.counter_rng import GOLDEN, key_of, mix, uniforms
from pipeline.training.dropout import dropout_mask

SHAPE = (3, 2, 5)  # 15 units a lane: the last of the generator's words is used in part
SEED, STEP, LAYER = 3, 4, 5


def unit(lane: int, index: int) -> int:
    """The 16 bits of a lane's unit, computed with Python's integers, as a number from 0 on."""
    word = mix(key_of(SEED, STEP, LAYER, lane) + GOLDEN * (index // 4 + 1))
    bits = word >> (16 * (index % 4)) & 0xFFFF
    return bits ^ 0x8000  # signed numbers are compared: -32,768 comes first


def expected(lanes: range, rate: float) -> list[list[list[bool]]]:
    """Which units are kept, (T, B, H)."""
    time, _, hidden = SHAPE
    first_kept = round(rate * 65536)
    return [
        [[unit(lane, t * hidden + h) >= first_kept for h in range(hidden)] for lane in lanes]
        for t in range(time)
    ]


def mask_of(lanes: range, rate: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return dropout_mask(torch.empty(SHAPE, dtype=dtype), lanes, rate, SEED, STEP, LAYER)


@pytest.mark.parametrize("lanes", [range(2), range(7, 9), range(1000, 1002)])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.75])
def test_masks_are_the_generators_bits(lanes: range, rate: float) -> None:
    mask = mask_of(lanes, rate)
    assert mask.shape == SHAPE
    assert (mask > 0).tolist() == expected(lanes, rate)
    assert set(mask.flatten().tolist()) == {0.0, 1 / (1 - rate)}


def test_a_unit_at_the_rate_itself_is_kept() -> None:
    for index in (0, 1, 13):
        rate = unit(0, index) / 65536
        mask = mask_of(range(2), rate)[:, 0].flatten()
        assert mask[index] > 0
        assert mask_of(range(2), rate + 1 / 65536)[:, 0].flatten()[index] == 0


def test_a_mask_has_the_type_of_what_it_masks() -> None:
    single = mask_of(range(2), 0.3, torch.float32)
    assert single.dtype == torch.float32
    assert torch.equal(single > 0, mask_of(range(2), 0.3) > 0)
    assert single.max().item() == pytest.approx(1 / 0.7, rel=1e-7)


def test_a_mask_is_made_where_the_outputs_are() -> None:
    # The meta device computes shapes alone, and mixes with no other.
    elsewhere = torch.empty(SHAPE, device="meta")
    mask = dropout_mask(elsewhere, range(2), 0.3, SEED, STEP, LAYER)
    assert (mask.device.type, mask.shape) == ("meta", SHAPE)


def test_a_lanes_mask_does_not_depend_on_who_computes_it() -> None:
    whole = dropout_mask(torch.empty(9, 10, 7), range(10), 0.3, seed=1, step=5, layer=0)
    part = dropout_mask(torch.empty(9, 3, 7), range(4, 7), 0.3, seed=1, step=5, layer=0)
    assert torch.equal(whole[:, 4:7], part)


def test_masks_differ_by_seed_step_layer_and_lane() -> None:
    like = torch.empty(20, 2, 30)
    keys = [(1, 1, 0), (2, 1, 0), (1, 2, 0), (1, 1, 1)]
    masks = [dropout_mask(like, range(2), 0.5, *key) for key in keys]
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
    # The highest 16 bits of a word are the last of its four units.
    top = [(int(word) >> (53 - 16)) & 0xFFFF for word in words]
    assert [bool(mask[0, 0, index] > 0) for index in (3, 7)] == [bit < 0x8000 for bit in top]
