"""Mean negative log-likelihood of a split under a model, read statefully from end to end."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from pipeline.training.group import Group
from pipeline.training.lanes import TokenSource, eval_bounds, lane_range
from pipeline.training.model import CharRNN

IGNORED = -100  # cross_entropy's default for positions that do not count
EVAL_SEQ_LEN = 128


def bits_per_char(nats: float) -> float:
    """Convert a mean negative log-likelihood in nats/token to bits (divide by ln 2)."""
    return nats / math.log(2)


def bits_per_byte(nats: float, tokens: int, text_bytes: int) -> float:
    """Convert nats/token over `tokens` tokens that stand for `text_bytes` bytes to bits per byte."""
    return bits_per_char(nats) * tokens / max(1, text_bytes)


@torch.no_grad()
def split_loss(model: CharRNN, tokens: TokenSource, lanes: int, group: Group | None = None) -> float:
    """Mean loss in nats per token over the whole split, each token but the first predicted exactly once.

    The split is read by a fixed number of lanes (fewer on tiny splits, see eval_bounds), each from a zero state; ranks
    share the lanes. Raises ValueError for a split of fewer than two tokens.
    """
    if len(tokens) < 2:
        raise ValueError(f"a split of {len(tokens)} tokens cannot be scored; it needs 2")
    group = group or Group()
    bounds = eval_bounds(len(tokens), lanes)
    own = lane_range(group.rank, group.world_size, len(bounds) - 1)
    device = model.head.weight.device
    total = torch.zeros(1, dtype=torch.float64, device=device)
    was_training = model.training
    model.eval()
    state = model.initial_state(len(own))
    for batch in _batches(tokens, [(bounds[lane], bounds[lane + 1]) for lane in own]):
        inputs, targets = torch.from_numpy(batch).to(device)
        logits, state = model(inputs, state)
        losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
        total += losses.to(torch.float64).sum()
    model.train(was_training)
    return float(group.sum(total)) / (len(tokens) - 1)


def _batches(tokens: TokenSource, stretches: list[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Inputs and targets, int64 (2, T, B), over [start, stop) stretches; past a stretch's end targets are IGNORED."""
    longest = max((stop - start for start, stop in stretches), default=0)
    for at in range(0, longest, EVAL_SEQ_LEN):
        width = min(EVAL_SEQ_LEN, longest - at)
        batch = np.zeros((2, width, len(stretches)), np.int64)
        batch[1] = IGNORED
        for column, (start, stop) in enumerate(stretches):
            low, high = start + at, min(stop, start + at + width)
            if low < high:
                text = tokens.read(low, high + 1)
                batch[0, : high - low, column] = text[:-1]
                batch[1, : high - low, column] = text[1:]
        yield batch
