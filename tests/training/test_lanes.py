from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora.shards import Tokens
from pipeline.errors import InputError
from pipeline.training.lanes import LanePlan, eval_bounds, lane_range

SIZES = st.tuples(st.integers(1, 7), st.integers(1, 9)).flatmap(
    lambda shape: st.tuples(
        st.just(shape[0]), st.just(shape[1]), st.integers(shape[0] * shape[1] + 1, 600)
    )
)


@given(SIZES, st.integers(0, 5))
def test_lanes_read_their_own_stretch_without_gap_or_overlap(
    shape: tuple[int, int, int], epoch: int
) -> None:
    lanes, seq_len, size = shape
    plan = LanePlan(size, lanes, seq_len)
    tokens = Tokens([np.arange(size)])
    batches = [
        plan.batch(tokens, range(lanes), epoch, step) for step in range(plan.steps_per_epoch)
    ]
    for lane in range(lanes):
        inputs = np.concatenate([batch[:-1, lane] for batch in batches])
        targets = np.concatenate([batch[1:, lane] for batch in batches])
        np.testing.assert_array_equal(targets, inputs + 1)  # targets are inputs shifted by one
        np.testing.assert_array_equal(np.diff(inputs), 1)  # step after step, the same text goes on
    starts = sorted(batches[0][0])
    assert set(np.diff(starts)) <= {plan.steps_per_epoch * seq_len}
    assert size - 1 - lanes * plan.steps_per_epoch * seq_len < lanes * seq_len


def test_the_remainder_moves_from_epoch_to_epoch() -> None:
    plan = LanePlan(1000, 3, 30)
    starts = {plan.start(epoch, 0, 0) for epoch in range(200)}
    assert starts == set(range(1000 - 1 - 990 + 1))


@given(st.integers(1, 200), st.integers(1, 40))
def test_ranks_share_the_lanes(lanes: int, world: int) -> None:
    ranges = [lane_range(rank, world, lanes) for rank in range(world)]
    assert [lane for own in ranges for lane in own] == list(range(lanes))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


def test_a_split_too_short_says_what_to_change() -> None:
    with pytest.raises(InputError) as caught:
        LanePlan(180, 16, 64)
    assert str(caught.value) == (
        "train split has 180 tokens; 16 lanes of seq_len 64 need 1,025. "
        "Lower --seq_len or --global_batch_size, or use a larger corpus."
    )


@given(st.integers(2, 5000), st.integers(1, 50))
def test_evaluation_predicts_every_token_but_the_first_once(size: int, lanes: int) -> None:
    bounds = eval_bounds(size, lanes)
    assert bounds[0] == 0
    assert bounds[-1] == size - 1
    assert bounds == sorted(bounds)
    assert len(bounds) - 1 <= max(1, min(lanes, size // 64))
