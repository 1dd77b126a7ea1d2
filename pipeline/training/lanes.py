"""Lanes: how a split becomes a stateful batch.

The global batch is `global_batch_size` lanes. In an epoch lane i reads its own contiguous stretch,
all of equal length; what is left over, under one seq_len a lane, moves by an offset each epoch, so
that it is not always the same text. Ranks own contiguous, possibly unequal, ranges of lanes.
Shapes: T time (seq_len), B lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.corpora.interleaved import Streams
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
    """Where every lane reads at every step: `batches` times `seq_len` tokens, one after another.

    With `stream_tokens` each lane reads the train piece of one stream of an interleaved corpus, of
    so many tokens, and never leaves it. Without, lanes are cut anew from all of the text.
    """

    num_tokens: int
    global_batch_size: int
    seq_len: int
    stream_tokens: int = 0
    batches: int = 1

    @classmethod
    def over(
        cls,
        num_tokens: int,
        streams: Streams | None,
        global_batch_size: int,
        seq_len: int,
        batches: int = 1,
    ) -> LanePlan:
        """The plan of a train split: a lane a stream, where there are as many of both."""
        is_aligned = streams is not None and streams.count == global_batch_size
        stream_tokens = streams.train_tokens if streams and is_aligned else 0
        return cls(num_tokens, global_batch_size, seq_len, stream_tokens, batches)

    def __post_init__(self) -> None:
        if self.stream_tokens:
            self._check_stream()
            return
        needed = self.tokens_per_step + 1  # the last target lies one token behind the last input
        if self.num_tokens < needed:
            raise InputError(
                f"train split has {self.num_tokens:,} tokens; {self.global_batch_size} lanes of "
                f"seq_len {self.seq_len}{self._times()} need {needed:,}. "
                "Lower --seq_len or --global_batch_size, or use a larger corpus."
            )

    @property
    def steps_per_epoch(self) -> int:
        if self.stream_tokens:
            return (self.stream_tokens - 1) // self.lane_tokens
        return (self.num_tokens - 1) // self.tokens_per_step

    @property
    def tokens_per_step(self) -> int:
        return self.global_batch_size * self.lane_tokens

    @property
    def lane_tokens(self) -> int:
        """Tokens that a lane reads at a step."""
        return self.seq_len * self.batches

    def start(self, epoch: int, lane: int, step: int) -> int:
        """The first input token of a lane at a step of an epoch."""
        epoch_tokens = self.steps_per_epoch * self.lane_tokens
        if self.stream_tokens:
            # The last token of a stream is a target alone: what follows it is held out.
            remainder = self.stream_tokens - 1 - epoch_tokens
            first = lane * self.stream_tokens
        else:
            remainder = self.num_tokens - 1 - self.global_batch_size * epoch_tokens
            first = lane * epoch_tokens
        offset = epoch * _STRIDE % (remainder + 1)
        return first + offset + step * self.lane_tokens

    def batch(self, tokens: TokenSource, lanes: range, epoch: int, step: int) -> np.ndarray:
        """The tokens of some lanes at a step, int64 (T + 1, B): inputs are [:-1], targets [1:].

        With several batches a step T is that of all of them.
        """
        batch = np.empty((self.lane_tokens + 1, len(lanes)), np.int64)
        for column, lane in enumerate(lanes):
            start = self.start(epoch, lane, step)
            batch[:, column] = tokens.read(start, start + self.lane_tokens + 1)
        return batch

    def _check_stream(self) -> None:
        if self.stream_tokens <= self.lane_tokens:
            raise InputError(
                f"each of {self.global_batch_size} streams has {self.stream_tokens:,} train "
                f"tokens; seq_len {self.seq_len}{self._times()} needs {self.lane_tokens + 1:,}. "
                "Lower --seq_len, build the corpus with fewer --streams, or use a larger one."
            )

    def _times(self) -> str:
        return f" times {self.batches} batches_per_update" if self.batches > 1 else ""


def crossing(streams: Streams | None, global_batch_size: int) -> str:
    """One line that says that lanes of an interleaved corpus are not its streams, else empty."""
    if streams is None or streams.count == global_batch_size:
        return ""
    return (
        f"the train split is {streams.count} streams, read in {global_batch_size} lanes that go "
        "from one stream on into the next; to read it as char-rnn does: "
        f"--global_batch_size {streams.count}"
    )
