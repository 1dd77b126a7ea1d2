"""Lanes cover the text: each its own stretch, all of it but a remainder that moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora.interleaved import Streams
from pipeline.corpora.shards import Tokens
from pipeline.errors import InputError
from pipeline.training.lanes import LanePlan, crossing, lane_range

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


def test_where_a_lane_starts() -> None:
    """410 tokens, 3 lanes of 4 steps of 30: 49 are left over, so offsets go up to 49."""
    plan = LanePlan(410, 3, 30)
    assert (plan.tokens_per_step, plan.steps_per_epoch) == (90, 4)
    assert [plan.start(0, lane, 0) for lane in range(3)] == [0, 120, 240]
    assert [plan.start(0, 1, step) for step in range(4)] == [120, 150, 180, 210]
    # 2,654,435,761 is 11 more than a multiple of 50.
    assert [plan.start(epoch, 0, 0) for epoch in range(6)] == [0, 11, 22, 33, 44, 5]
    assert plan.start(2, 2, 3) == 22 + 240 + 90


def test_a_batch_is_the_text_of_its_lanes() -> None:
    plan = LanePlan(410, 3, 30)
    tokens = Tokens([(np.arange(410) % 256).astype(np.uint8)])
    batch = plan.batch(tokens, range(1, 3), epoch=1, step=2)
    assert (batch.shape, batch.dtype) == ((31, 2), np.int64)
    text = np.arange(410) % 256
    np.testing.assert_array_equal(batch[:, 0], text[11 + 120 + 60 :][:31])
    np.testing.assert_array_equal(batch[:, 1], text[11 + 240 + 60 :][:31])
    # The last token of a text that has no remainder is a target too.
    whole = LanePlan(361, 3, 30)
    last = whole.batch(Tokens([np.arange(361)]), range(2, 3), epoch=0, step=3)
    assert last[-1, 0] == 360


@pytest.mark.parametrize(("tokens", "steps"), [(91, 1), (180, 1), (181, 2), (270, 2), (271, 3)])
def test_steps_of_an_epoch(tokens: int, steps: int) -> None:
    assert LanePlan(tokens, 3, 30).steps_per_epoch == steps


@given(st.integers(1, 200), st.integers(1, 40))
def test_ranks_share_the_lanes(lanes: int, world: int) -> None:
    ranges = [lane_range(rank, world, lanes) for rank in range(world)]
    assert [lane for own in ranges for lane in own] == list(range(lanes))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


def test_three_ranks_share_a_hundred_lanes() -> None:
    ranges = [lane_range(rank, 3, 100) for rank in range(3)]
    assert ranges == [range(33), range(33, 66), range(66, 100)]


def test_a_split_too_short_says_what_to_change() -> None:
    with pytest.raises(InputError) as caught:
        LanePlan(180, 16, 64)
    assert str(caught.value) == (
        "train split has 180 tokens; 16 lanes of seq_len 64 need 1,025. "
        "Lower --seq_len or --global_batch_size, or use a larger corpus."
    )
    with pytest.raises(InputError, match=r"train split has 1,024 tokens; .* need 1,025\."):
        LanePlan(1024, 16, 64)
    assert LanePlan(1025, 16, 64).steps_per_epoch == 1


STREAMS = Streams(3, 100)  # and 10 tokens that are left over


def test_each_lane_reads_one_stream() -> None:
    plan = LanePlan.over(310, STREAMS, 3, 30)
    assert plan.steps_per_epoch == 3  # (100 - 1) // 30
    tokens = Tokens([np.arange(310)])
    seen: dict[int, set[int]] = {lane: set() for lane in range(3)}
    for epoch in range(20):
        for step in range(3):
            batch = plan.batch(tokens, range(3), epoch, step)
            np.testing.assert_array_equal(np.diff(batch, axis=0), 1)
            for lane in range(3):
                seen[lane] |= set(batch[:, lane].tolist())
    # All of its stream, and nothing of what stands in the split behind it.
    assert seen == {lane: set(range(100 * lane, 100 * lane + 100)) for lane in range(3)}
    assert [plan.start(0, lane, 1) for lane in range(3)] == [30, 130, 230]


def test_as_many_tokens_as_steps_need_leave_no_remainder() -> None:
    plan = LanePlan.over(273, Streams(3, 91), 3, 30)
    assert plan.steps_per_epoch == 3
    assert {plan.start(epoch, 1, 0) for epoch in range(9)} == {91}
    assert LanePlan.over(270, Streams(3, 90), 3, 30).steps_per_epoch == 2


def test_other_lanes_than_streams_are_cut_anew() -> None:
    assert LanePlan.over(310, STREAMS, 2, 30) == LanePlan(310, 2, 30)
    assert LanePlan.over(310, None, 3, 30) == LanePlan(310, 3, 30)
    assert crossing(None, 3) == crossing(STREAMS, 3) == ""
    assert crossing(STREAMS, 2) == (
        "the train split is 3 streams, read in 2 lanes that go from one stream on into the next; "
        "to read it as char-rnn does: --global_batch_size 3"
    )


def test_streams_too_short_say_what_to_change() -> None:
    with pytest.raises(InputError) as caught:
        LanePlan.over(310, STREAMS, 3, 100)
    assert str(caught.value) == (
        "each of 3 streams has 100 train tokens; seq_len 100 needs 101. "
        "Lower --seq_len, build the corpus with fewer --streams, or use a larger one."
    )
    assert LanePlan.over(310, STREAMS, 3, 99).steps_per_epoch == 1


@pytest.mark.parametrize("stream_tokens", [0, 103])
def test_a_step_of_several_batches_reads_them_one_after_another(stream_tokens: int) -> None:
    tokens = Tokens([np.arange(310)])
    several = LanePlan(310, 3, 10, stream_tokens, batches=3)
    long = LanePlan(310, 3, 30, stream_tokens)
    assert several.steps_per_epoch == long.steps_per_epoch == 3
    assert (several.lane_tokens, several.tokens_per_step) == (30, 90)
    for epoch in range(3):
        for step in range(3):
            ours = several.batch(tokens, range(3), epoch, step)
            assert np.array_equal(ours, long.batch(tokens, range(3), epoch, step))


def test_too_little_text_for_several_batches_is_said_so() -> None:
    with pytest.raises(InputError, match="seq_len 64 times 3 batches_per_update need 193"):
        LanePlan(180, 1, 64, batches=3)
