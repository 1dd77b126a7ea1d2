"""Lanes: how a split becomes a stateful batch.

The global batch is `global_batch_size` lanes. In an epoch lane i reads its own contiguous stretch,
all of equal length; what is left over, under one seq_len a lane, moves by an offset each epoch, so
that it is not always the same text. Ranks own contiguous, possibly unequal, ranges of lanes.
Shapes: T time (seq_len), B lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.corpora.shards import TokenSource
from pipeline.errors import InputError

# A prime, so that the offsets of successive epochs reach all of the remainder.
_STRIDE = 2_654_435_761


def lane_range(rank: int, world_size: int, lanes: int) -> range:
    """The lanes that a rank owns: contiguous, and as equal as can be."""
    first = rank * lanes // world_size
    end = (rank + 1) * lanes // world_size
    return range(first, end)


@dataclass(frozen=True)
class LanePlan:
    """Where every lane reads at every step."""

    num_tokens: int
    global_batch_size: int
    seq_len: int

    def __post_init__(self) -> None:
        needed = self.tokens_per_step + 1  # the last target lies one token behind the last input
        if self.num_tokens < needed:
            raise InputError(
                f"train split has {self.num_tokens:,} tokens; {self.global_batch_size} lanes of "
                f"seq_len {self.seq_len} need {needed:,}. "
                "Lower --seq_len or --global_batch_size, or use a larger corpus."
            )

    @property
    def steps_per_epoch(self) -> int:
        return (self.num_tokens - 1) // self.tokens_per_step

    @property
    def tokens_per_step(self) -> int:
        return self.global_batch_size * self.seq_len

    def start(self, epoch: int, lane: int, step: int) -> int:
        """The first input token of a lane at a step of an epoch."""
        lane_tokens = self.steps_per_epoch * self.seq_len
        remainder = self.num_tokens - 1 - self.global_batch_size * lane_tokens
        offset = epoch * _STRIDE % (remainder + 1)
        return offset + lane * lane_tokens + step * self.seq_len

    def batch(self, tokens: TokenSource, lanes: range, epoch: int, step: int) -> np.ndarray:
        """The tokens of some lanes at a step, int64 (T + 1, B): inputs are [:-1], targets [1:]."""
        batch = np.empty((self.seq_len + 1, len(lanes)), np.int64)
        for column, lane in enumerate(lanes):
            start = self.start(epoch, lane, step)
            batch[:, column] = tokens.read(start, start + self.seq_len + 1)
        return batch
