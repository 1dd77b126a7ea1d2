"""Many texts of any length, scored side by side: each from a zero state, and a lane whose text has
ended takes the next one.

A text's nats depend on nothing but the text: a lane's arithmetic does not depend on the lanes
beside it (step.py), and its state is cleared in front of each text. So the packing below is free to
go by speed alone. Shapes: W lanes, T steps.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.engine.compiling import compiled
from pipeline.engine.engine import WIDTH, Engine
from pipeline.engine.step import feed, nats_of

_BLOCK = 2048  # steps between hand-overs: 3 MB of room for 64 lanes


def score_texts(
    engine: Engine, texts: Sequence[np.ndarray], width: int = WIDTH
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index, nats) of every text as it ends: nats (float64) of its tokens but the first."""
    for index, text in enumerate(texts):
        if len(text) < 2:
            yield index, np.zeros(0)
    packed = pack([max(0, len(text) - 1) for text in texts], width)
    columns = [_Column.of(texts, indices) for indices in packed]
    lanes = engine.lanes(max(1, len(columns)))
    for start, stop, running in _blocks([len(column.inputs) for column in columns]):
        shape = (stop - start, running)
        inputs = np.empty(shape, np.int64)
        targets = np.empty(shape, np.int64)
        begins = np.zeros(shape, np.bool_)
        for lane, column in enumerate(columns[:running]):
            inputs[:, lane] = column.inputs[start:stop]
            targets[:, lane] = column.targets[start:stop]
            begins[:, lane] = column.begins[start:stop]
        nats = np.empty(shape)
        kind = lanes.weights.config.traits.code
        weights = lanes.weights.arrays
        _score(inputs, targets, begins, kind, weights, lanes.state, lanes.buffers, nats)
        for lane, column in enumerate(columns[:running]):
            yield from column.ended(nats[:, lane])


def pack(steps: list[int], width: int) -> list[list[int]]:
    """The texts of each lane, in order, for texts of so many steps; the longest lane comes first.

    The longest text goes first, each onto the lane that ends first: lanes end almost together,
    unless one text is longer than its share.
    """
    # Of equals the first: nothing here may depend on chance.
    order = sorted((index for index in range(len(steps)) if steps[index]), key=lambda n: -steps[n])
    ends = [(0, lane) for lane in range(min(width, len(order)))]
    packed: list[list[int]] = [[] for _ in ends]
    for index in order:
        end, lane = ends[0]
        packed[lane].append(index)
        heapq.heapreplace(ends, (end + steps[index], lane))
    # Those that go on stand in front, so a step reads the first lanes.
    return [packed[lane] for end, lane in sorted(ends, key=lambda pair: -pair[0])]


@dataclass
class _Column:
    """The texts of one lane, one behind the other. The last token of a text is predicted, and not
    read: the step behind it reads the first token of the next.

    `done` of `partial` are the nats so far of the first text in `waiting`.
    """

    inputs: np.ndarray
    targets: np.ndarray
    begins: np.ndarray
    waiting: list[tuple[int, int]]  # (index, steps), the next one at the end
    partial: np.ndarray
    done: int = 0

    @classmethod
    def of(cls, texts: Sequence[np.ndarray], indices: list[int]) -> _Column:
        own = [texts[index] for index in indices]
        steps = [len(text) - 1 for text in own]
        starts = list(itertools.accumulate(steps[:-1], initial=0))
        begins = np.zeros(sum(steps), np.bool_)
        begins[starts] = True
        return cls(
            inputs=np.concatenate([text[:-1] for text in own]),
            targets=np.concatenate([text[1:] for text in own]),
            begins=begins,
            waiting=list(zip(indices, steps, strict=True))[::-1],
            partial=np.empty(steps[0]),
        )

    def ended(self, nats: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Take in the nats of a block; the texts that end in it, with all of theirs."""
        at = 0
        while at < len(nats):
            taken = min(len(nats) - at, len(self.partial) - self.done)
            self.partial[self.done : self.done + taken] = nats[at : at + taken]
            self.done += taken
            at += taken
            if self.done < len(self.partial):
                return
            index, _ = self.waiting.pop()
            yield index, self.partial
            self.partial = np.empty(self.waiting[-1][1] if self.waiting else 0)
            self.done = 0


def _blocks(lengths: list[int]) -> Iterator[tuple[int, int, int]]:
    """[start, stop) of steps, and how many lanes still run there, all of them to its end."""
    at = 0
    running = len(lengths)
    while running:
        stop = min(at + _BLOCK, lengths[running - 1])
        yield at, stop, running
        at = stop
        while running and lengths[running - 1] <= at:
            running -= 1


@compiled
def _score(
    inputs: Any,
    targets: Any,
    begins: Any,
    kind: int,
    weights: Any,
    state: Any,
    buffers: Any,
    nats: Any,
) -> None:
    """Nats (T, W) of `targets`, each predicted from the inputs since its text began."""
    symbols = len(weights.table)
    steps, lanes = inputs.shape
    for step in range(steps):
        for lane in range(lanes):
            if begins[step, lane]:
                state.hidden[:, lane] = 0
                state.cell[:, lane] = 0
                state.int8_activations[:, lane] = 128
        feed(inputs[step], lanes, kind, weights, state, buffers)
        for lane in range(lanes):
            nats[step, lane] = nats_of(buffers.logits[lane, :symbols], targets[step, lane])
