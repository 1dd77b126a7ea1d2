"""The split of char-rnn (2015): the end of each of B streams is held out, not the end of the text.

char-rnn's loader cuts a text into batch_size streams of equal length, reads seq_length columns of
them at a time, and gives the first of these batches to train, the next to val, the last to test.
docs/design.md says what is not as it is there. Pure arithmetic over token numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.corpora.config import Share
from pipeline.errors import InputError


class Range(NamedTuple):
    """Tokens [low, high) of all documents laid end to end, and the split that has them."""

    split: str
    low: int
    high: int


@dataclass(frozen=True)
class Streams:
    """How the train split of a version is made: `count` pieces of `train_tokens` tokens each.

    Behind them the split has what is left over of the text.
    """

    count: int
    train_tokens: int

    @classmethod
    def of(cls, total: int, shares: Mapping[str, Share], streams: int, seq_len: int) -> Streams:
        """Those of a text of `total` tokens that interleaved_ranges divides."""
        return cls(streams, _batches(total, shares, streams, seq_len)["train"] * seq_len)


def interleaved_ranges(
    total: int, shares: Mapping[str, Share], streams: int, seq_len: int
) -> list[Range]:
    """What each split gets of a text of `total` tokens, in the order of the text.

    `shares` stand in the order of the splits. A fraction is rounded down to whole batches; one is
    `streams` pieces of `seq_len` tokens. What is left over at the end of the text, less than a
    batch, goes to train: char-rnn drops it. Adjacent ranges of one split are one.
    """
    batches = _batches(total, shares, streams, seq_len)
    ranges: list[Range] = []
    place = 0
    for _ in range(streams):
        for name, count in batches.items():
            _append(ranges, Range(name, place, place + count * seq_len))
            place += count * seq_len
    _append(ranges, Range("train", place, total))
    return ranges


def split_counts(
    total: int, shares: Mapping[str, Share], streams: int, seq_len: int
) -> dict[str, int]:
    """Tokens of each split, what is left over included."""
    counts = dict.fromkeys(shares, 0)
    for split, low, high in interleaved_ranges(total, shares, streams, seq_len):
        counts[split] += high - low
    return counts


def _append(ranges: list[Range], new: Range) -> None:
    if new.low == new.high:
        return
    if ranges and ranges[-1].split == new.split:
        new = Range(new.split, ranges.pop().low, new.high)
    ranges.append(new)


def _batches(total: int, shares: Mapping[str, Share], streams: int, seq_len: int) -> dict[str, int]:
    """Batches of each split. InputError where a split that is asked for would have none."""
    batches = total // (streams * seq_len)
    what = f"{streams:,} streams in steps of {seq_len:,}"
    advice = "lower --streams or --stream_seq_len, or use a larger corpus"
    if not batches:
        raise InputError(
            f"the corpus has {total:,} tokens; {what} need {streams * seq_len:,}: {advice}."
        )
    counts: dict[str, int] = {}
    for name, share in shares.items():
        if share == "rest":
            counts[name] = 0  # known when the others are; here for its place among them
            continue
        if isinstance(share, int) and share > 0:
            raise InputError(
                f"{name} is {share} tokens, but split 'interleaved' takes fractions; "
                "use --split tail."
            )
        # As Lua's math.floor does it, with the same double.
        counts[name] = int(share * batches)
        if share and not counts[name]:
            raise InputError(
                f"{name} is {share} of {batches:,} batches, less than one: {total:,} tokens in "
                f"{what}; raise --{name}, {advice}."
            )
    for name, share in shares.items():
        if share == "rest":
            counts[name] = batches - sum(counts.values())
    return counts
