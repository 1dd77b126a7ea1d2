"""What a run costs: parameters, memory and time, from shapes alone. Imports no torch.

Shapes: T time (seq_len), B lanes of one worker, V vocab, E embedding, H hidden, G gates, L layers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.estimates import Estimate, product_rate
from pipeline.model.config import ModelConfig
from pipeline.training.config import TrainConfig

FLOAT = 4  # bytes
# A Ray worker's process beside its model: Ray, torch, numba and their first step's code. Two
# workers of an LSTM 1x256 had 644 MB resident at most, 23 MB of it the model's by what follows.
# Four trainers of 0.05 to 3.4 million weights outside of Ray had 439 to 768 MB, 170 MB less than
# this file says, to within 35 MB.
PROCESS_BYTES = 620 << 20
# Tensors beside each weight: its gradient, and what the optimiser keeps.
OPTIMIZER_TENSORS = {"rmsprop": 1, "adam": 2, "adamw": 2}

MEMORY_BASIS = (
    "weights, gradient, optimiser and snapshot from shapes, what backpropagation through seq_len "
    "steps keeps, and the process itself"
)
# What a step takes beside its products, on the machine that ACCURACY speaks of. By element:
# activations of a gate and their gradient. By weight: clipping and the optimiser's update. By step:
# calls into torch, and between ranks, that do not depend on sizes.
ELEMENT_S = 3e-9
WEIGHT_S = 2e-9
STEP_S = 2e-3
ACCURACY = (
    "rough: real steps of LSTM 1x64, 1x256 (on two workers too), 2x512 and GRU 2x128 took 0.8 to "
    "1.3 times as long as was said of them"
)


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes of one worker: `total` is all of it, with its process."""

    weights: int
    gradient: int
    optimizer: int
    snapshot: int
    activations: int
    process: int
    basis: str

    @property
    def total(self) -> int:
        kept = self.weights + self.gradient + self.optimizer + self.snapshot
        return kept + self.activations + self.process

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "total": self.total}


def parameters(model: ModelConfig) -> int:
    """Weights of a model."""
    return sum(math.prod(shape) for shape in model.shapes().values())


def token_operations(model: ModelConfig) -> int:
    """Floating-point operations that one token costs in the forward pass: its matrix products.

    A one-hot input of an LSTM is a row of a table, and costs none; the other cells multiply it.
    """
    hidden = model.hidden_size
    gates = model.traits.gates * hidden
    is_looked_up = model.cell == "lstm"
    first = 0 if is_looked_up else (model.embedding_size or model.vocab_size)
    inputs = [first, *[hidden] * (model.num_layers - 1)]
    layers = sum(2 * gates * (size + hidden) for size in inputs)
    return layers + 2 * model.vocab_size * hidden


def memory(config: TrainConfig, model: ModelConfig) -> MemoryEstimate:
    """What one worker holds at once; with LOW:HIGH workers, at the fewest, which is the most."""
    weights = parameters(model) * FLOAT
    optimizer = weights * OPTIMIZER_TENSORS[config.optimizer]
    lanes = -(-config.global_batch_size // config.workers[0])
    return MemoryEstimate(
        weights=weights,
        gradient=weights,
        optimizer=optimizer,
        snapshot=weights + optimizer,
        activations=_activations(model, -(-lanes // config.accumulate), config.seq_len),
        process=0 if config.use_gpu else PROCESS_BYTES,
        basis=MEMORY_BASIS,
    )


def _activations(model: ModelConfig, lanes: int, seq_len: int) -> int:
    """What the forward pass keeps for the backward pass, and what that makes, in bytes."""
    cells = lanes * seq_len
    hidden = model.hidden_size
    gates = model.traits.gates * hidden
    # By layer: activated gates and their gradient, hidden and cell states, tanh of the cell, and
    # the gradient of the outputs.
    layer = cells * (2 * gates + 4 * hidden)
    # The first layer's input: rows of a table for an LSTM, one-hot vectors else, which are floats.
    first = 0 if model.cell == "lstm" else cells * (model.embedding_size or model.vocab_size)
    # Logits, their logarithms of probabilities, and the gradient of both.
    head = cells * model.vocab_size * 4
    dropped = 2 * cells * hidden if model.dropout else 0
    return FLOAT * (model.num_layers * (layer + dropped) + first + head)


def step_seconds(config: TrainConfig, model: ModelConfig, cpus: int | None) -> Estimate | None:
    """Seconds of one training step, where all workers share `cpus` processors; None: each has its
    own.

    The recurrent product is measured here and now, for 0.2 s, in the shape in which a worker makes
    it. None for a GPU, of which this process knows nothing.
    """
    if config.use_gpu:
        return None
    workers = config.workers[1]
    lanes = -(-config.global_batch_size // workers)
    hidden = model.hidden_size
    gates = model.traits.gates * hidden
    available = cpus or workers * config.cpus_per_worker
    threads = min(config.cpus_per_worker, available)
    rate = product_rate(-(-lanes // config.accumulate), hidden, gates, threads)
    # The backward pass makes twice the products of the forward pass.
    tokens = lanes * config.seq_len * config.batches_per_update
    operations = 3 * token_operations(model) * tokens
    elements = tokens * model.num_layers * gates
    own = operations / rate + ELEMENT_S * elements + WEIGHT_S * parameters(model)
    # Workers beyond the processors wait for each other.
    crowding = max(1.0, workers * threads / available)
    basis = (
        f"{operations / 1e9:.2f} GFLOP a worker and step at {rate / 1e9:.0f} GFLOP/s, measured now "
        f"on {threads} thread{'s' if threads > 1 else ''}; {ACCURACY}"
    )
    return Estimate(crowding * own + STEP_S, basis)


def evaluation_seconds(step: Estimate, config: TrainConfig, val_tokens: int) -> float:
    """Seconds of one evaluation: the forward pass alone, over the whole validation split."""
    tokens_per_step = config.global_batch_size * config.seq_len * config.batches_per_update
    return step.value * (val_tokens / tokens_per_step) / 3
