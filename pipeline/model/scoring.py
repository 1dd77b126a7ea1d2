"""What a model makes of a text: nats by token, read statefully from end to end.

A score is a stream. Whoever needs a mean sums it: training over its ranks, the champion rule over
one process; evaluation will bin it by place. Shapes: T time, B lanes. IGNORED marks a place that
predicts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from pipeline.corpora.shards import TokenSource
from pipeline.model.network import CharRNN

IGNORED = -100  # cross_entropy's default for positions that do not count
EVAL_SEQ_LEN = 128  # tokens a lane in one forward pass; does not change what is predicted from what
_SHORTEST_LANE = 64  # tokens: shorter lanes would be scored mostly from an empty state


def bits_per_char(nats: float) -> float:
    """Convert a mean negative log-likelihood in nats/token to bits (divide by ln 2)."""
    return nats / math.log(2)


def bits_per_byte(nats: float, tokens: int, text_bytes: int) -> float:
    """Convert nats/token to bits per byte; `tokens` tokens stand for `text_bytes` bytes."""
    return bits_per_char(nats) * tokens / max(1, text_bytes)


@dataclass(frozen=True)
class ScoredBatch:
    """The nats of some tokens: `nats` (T, B), and in `positions` (T, B) each token's place in the
    text.

    Where a lane has ended, nats are 0 and the position is -1.
    """

    positions: np.ndarray
    nats: torch.Tensor


def lane_bounds(num_tokens: int, lanes: int) -> list[int]:
    """Bounds of the lanes that read a text: lane i predicts tokens bounds[i] + 1 to bounds[i + 1].

    Every token but the first is predicted exactly once. A text too short for `lanes` lanes of 64
    tokens gets fewer.
    """
    predicted = num_tokens - 1
    lanes = max(1, min(lanes, predicted // _SHORTEST_LANE))
    return [lane * predicted // lanes for lane in range(lanes + 1)]


@torch.no_grad()
def score(
    network: CharRNN, tokens: TokenSource, bounds: list[int], lanes: range | None = None
) -> Iterator[ScoredBatch]:
    """The nats of a text, each lane of `bounds` (lane_bounds) read from a zero state; `lanes` are
    those to read (default all).

    Raises ValueError for a text of fewer than two tokens: nothing in it can be predicted.
    """
    if len(tokens) < 2:
        raise ValueError(f"a split of {len(tokens)} tokens cannot be scored; it needs 2")
    lanes = range(len(bounds) - 1) if lanes is None else lanes
    stretches = [(bounds[lane], bounds[lane + 1]) for lane in lanes]
    device = network.head.weight.device
    state = network.initial_state(len(stretches))
    for positions, batch in _batches(tokens, stretches):
        inputs, targets = torch.from_numpy(batch).to(device)
        logits, state = network(inputs, state)
        # Gives 0 where a target is IGNORED.
        nats = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        yield ScoredBatch(positions, nats.view(targets.shape))


def summed_nats(
    network: CharRNN, tokens: TokenSource, bounds: list[int], lanes: range | None = None
) -> torch.Tensor:
    """The sum of `score`, as a float64 tensor of one element on the network's device."""
    # In float64: a split may have a billion tokens, and ranks sum their parts.
    total = torch.zeros(1, dtype=torch.float64, device=network.head.weight.device)
    for batch in score(network, tokens, bounds, lanes):
        total += batch.nats.to(torch.float64).sum()
    return total


def mean_nats(network: CharRNN, tokens: TokenSource, lanes: int) -> float:
    """Mean loss in nats a token over a whole text, every token but the first predicted once."""
    bounds = lane_bounds(len(tokens), lanes)
    return float(summed_nats(network, tokens, bounds)) / (len(tokens) - 1)


def _batches(
    tokens: TokenSource, stretches: list[tuple[int, int]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions (T, B) and, as int64 (2, T, B), inputs and targets, over [start, stop) stretches.

    Past a stretch's end targets are IGNORED and positions -1.
    """
    longest = max((stop - start for start, stop in stretches), default=0)
    for at in range(0, longest, EVAL_SEQ_LEN):
        width = min(EVAL_SEQ_LEN, longest - at)
        batch = np.zeros((2, width, len(stretches)), np.int64)
        batch[1] = IGNORED
        positions = np.full((width, len(stretches)), -1)
        for column, (start, stop) in enumerate(stretches):
            low = start + at
            high = min(stop, low + width)
            if low < high:
                text = tokens.read(low, high + 1)
                batch[0, : high - low, column] = text[:-1]
                batch[1, : high - low, column] = text[1:]
                positions[: high - low, column] = np.arange(low + 1, high + 1)
        yield positions, batch
