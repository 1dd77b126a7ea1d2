"""What every unit of a model does at every character of a text.

A short text is read from end to end. A longer one is cut into lanes of LANE tokens, and each is
read from WARM_UP tokens before its start: what a unit knows from farther back is lost at a lane's
start. Lanes, and which of them are read side by side, follow from the text's length alone, so any
number of workers gives the same bytes.

Shapes: N symbols of the text, T tokens that the model reads, B lanes, L layers, H hidden, K top.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.errors import InputError
from pipeline.evaluation.scores import reading
from pipeline.explaining.gates import Counts, Histogram, Saturation
from pipeline.explaining.stepping import Inside, step_through
from pipeline.model.artifact import ModelArtifact, load_network, parse_vocab
from pipeline.model.network import CharRNN, initialize
from pipeline.model.threads import one_thread
from pipeline.progress import Progress
from pipeline.tasks import Runner, run_here

WHOLE = 16_384  # tokens: a text up to here is one lane
LANE = 8192
WARM_UP = 1024
LANES_A_TASK = 4  # 3 layers of 512 units are then 134 MB of result
STRETCH = 512  # steps between two copies out of torch: what memory a task takes
TOP = 5
SCALE = 1 / 127  # an activation is its 8-bit number times this: off by 0.004 at most


@dataclass(frozen=True)
class Activations:
    """A text as a model's units see it. Place t is after token t was read.

    `tokens` (T,) with their symbols' indices `places` (T,); `hidden` and `cell` (T, L, H) int8,
    times SCALE (`cell` is tanh of an LSTM's cell state, None for other cells); `top_ids` and
    `top_probs` (T, K) for the next token, likeliest first; `nats` (T,) of token t itself, nan for
    the first.
    """

    tokens: np.ndarray
    places: np.ndarray
    hidden: np.ndarray
    cell: np.ndarray | None
    top_ids: np.ndarray
    top_probs: np.ndarray
    nats: np.ndarray
    saturations: tuple[Saturation, ...]
    histograms: tuple[Histogram, ...]

    @property
    def signals(self) -> dict[str, np.ndarray]:
        """What there is of a unit, by name: (T, L, H) int8."""
        if self.cell is None:
            return {"hidden": self.hidden}
        return {"hidden": self.hidden, "cell": self.cell}


@dataclass(frozen=True)
class Lane:
    """Tokens [start, stop) of a text, read from token `start - warm_up`."""

    start: int
    stop: int
    warm_up: int


@dataclass(frozen=True)
class LaneTask:
    """Some lanes of a text. `texts` are their tokens, warm-up in front, the next token behind.

    With `untrained_seed`, the network is one of the model's shape that has learnt nothing.
    """

    model: ModelArtifact
    lanes: tuple[Lane, ...]
    texts: tuple[np.ndarray, ...]
    untrained_seed: int | None = None

    def run(self) -> dict[str, Any]:
        """Everything but the tokens, lane behind lane, as base64 of arrays."""
        network = network_of(self.model, self.untrained_seed)
        collected = _Collected(len(self.lanes))
        longest = max(lane.warm_up + lane.stop - lane.start for lane in self.lanes)
        padded = np.zeros((longest + 1, len(self.lanes)), np.int64)
        for column, text in enumerate(self.texts):
            padded[: len(text), column] = text
        for start, inside in observe(network, padded[:-1]):
            targets = padded[start + 1 : start + 1 + inside.logits.shape[0]]
            for column, lane in enumerate(self.lanes):
                first = max(0, lane.warm_up - start)
                last = lane.warm_up + lane.stop - lane.start - start
                if first < last:
                    collected.add(column, inside, targets, slice(first, last))
        return collected.to_json()


def read_text(
    model: ModelArtifact,
    text: bytes,
    run: Runner = run_here,
    *,
    untrained_seed: int | None = None,
) -> Activations:
    """Run a model over a text. InputError for a text of fewer than two tokens."""
    read = reading(text, parse_vocab(model.files, model.uri), model.name)
    if len(read.tokens) < 2:
        raise InputError(
            f"the text has {len(read.tokens)} symbols that {model.name} reads; it needs 2."
        )
    tasks = _tasks(model, read.tokens, untrained_seed)
    progress = Progress("activations", len(read.tokens), "tokens")
    parts: list[dict[str, Any]] = [{}] * len(tasks)
    for index, result in run(LaneTask.run, tasks):
        parts[index] = _arrays(result, model)
        progress.add(sum(lane.stop - lane.start for lane in tasks[index].lanes))
    progress.finish()
    counts = Counts()
    for part in parts:
        counts.add(part.pop("counts"))
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    nats = np.full(len(read.tokens), np.nan, np.float32)
    nats[1:] = whole["next_nats"][:-1]
    return Activations(
        tokens=read.tokens,
        places=read.places,
        hidden=whole["hidden"],
        cell=whole.get("cell"),
        top_ids=whole["top_ids"],
        top_probs=whole["top_probs"],
        nats=nats,
        saturations=counts.saturations(),
        histograms=counts.histograms(),
    )


def network_of(model: ModelArtifact, untrained_seed: int | None = None) -> CharRNN:
    """The model's network, or an untrained one of its shape."""
    if untrained_seed is None:
        return load_network(model.files, model.uri)[0]
    network = CharRNN(model.about.model)
    # Orthogonal matrices come from a factorisation whose last bits depend on the threads.
    with one_thread():
        initialize(network, untrained_seed)
    return network.eval()


def observe(network: CharRNN, tokens: np.ndarray) -> Iterator[tuple[int, Inside]]:
    """Read tokens (T, B) from a zero state: the first step of each stretch, and what happened
    inside the network, as floats.
    """
    state = network.initial_state(tokens.shape[1])
    for start in range(0, len(tokens), STRETCH):
        stretch = torch.from_numpy(tokens[start : start + STRETCH].astype(np.int64))
        inside = step_through(network, stretch, state)
        state = inside.state
        yield start, inside


def lanes_of(tokens: int) -> list[Lane]:
    """The lanes that a text of so many tokens is read in."""
    if tokens <= WHOLE:
        return [Lane(0, tokens, 0)]
    return [
        Lane(start, min(start + LANE, tokens), min(start, WARM_UP))
        for start in range(0, tokens, LANE)
    ]


def quantized(values: torch.Tensor) -> np.ndarray:
    """Activations in [-1, 1] as int8, to be multiplied with SCALE."""
    return torch.round(values / SCALE).to(torch.int8).numpy()


def _tasks(model: ModelArtifact, tokens: np.ndarray, seed: int | None) -> list[LaneTask]:
    lanes = lanes_of(len(tokens))
    tasks = []
    for first in range(0, len(lanes), LANES_A_TASK):
        own = tuple(lanes[first : first + LANES_A_TASK])
        texts = tuple(tokens[lane.start - lane.warm_up : lane.stop + 1] for lane in own)
        tasks.append(LaneTask(model, own, texts, seed))
    return tasks


class _Collected:
    """What a task has seen, by lane."""

    def __init__(self, lanes: int) -> None:
        self.counts = Counts()
        self.parts: list[dict[str, list[np.ndarray]]] = [{} for _ in range(lanes)]

    def add(self, lane: int, inside: Inside, targets: np.ndarray, rows: slice) -> None:
        """Some rows of a stretch of a lane; `targets` (T, B) are what it predicts."""
        signals = {"hidden": inside.hidden[:, rows, lane]}
        if inside.cell is not None:
            signals["cell"] = inside.cell[:, rows, lane]
        gates = {name: gate[:, rows, lane].numpy() for name, gate in inside.gates.items()}
        self.counts.look(gates, {name: signal.numpy() for name, signal in signals.items()})
        log_probs = torch.log_softmax(inside.logits[rows, lane], dim=1)
        top = torch.topk(log_probs, min(TOP, log_probs.shape[1]), dim=1)
        wanted = torch.from_numpy(targets[rows, lane])
        found = {name: quantized(signal.transpose(0, 1)) for name, signal in signals.items()}
        found["top_ids"] = top.indices.to(torch.int32).numpy()
        found["top_probs"] = top.values.exp().numpy()
        found["next_nats"] = -log_probs.gather(1, wanted[:, None])[:, 0].numpy()
        for name, values in found.items():
            self.parts[lane].setdefault(name, []).append(values)

    def to_json(self) -> dict[str, Any]:
        # JSON is what a runner brings back; base64 keeps every bit.
        arrays = {
            name: np.concatenate([piece for part in self.parts for piece in part[name]])
            for name in self.parts[0]
        }
        coded = {name: base64.b64encode(array.tobytes()).decode() for name, array in arrays.items()}
        return {"counts": self.counts.to_json(), **coded}


def _arrays(result: dict[str, Any], model: ModelArtifact) -> dict[str, Any]:
    """The arrays of a task's result."""
    config = model.about.model
    units = (-1, config.num_layers, config.hidden_size)
    top = (-1, min(TOP, config.vocab_size))
    layouts: dict[str, tuple[Any, tuple[int, ...]]] = {
        "hidden": (np.int8, units),
        "cell": (np.int8, units),
        "top_ids": (np.int32, top),
        "top_probs": (np.float32, top),
        "next_nats": (np.float32, (-1,)),
    }
    arrays: dict[str, Any] = {"counts": result["counts"]}
    for name, (dtype, shape) in layouts.items():
        if name in result:
            arrays[name] = np.frombuffer(base64.b64decode(result[name]), dtype).reshape(shape)
    return arrays
