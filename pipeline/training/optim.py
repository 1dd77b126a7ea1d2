"""Optimisers, learning-rate schedules, and the flat gradient that makes data-parallel steps exact."""

from __future__ import annotations

import math

import torch
from torch import nn

from pipeline.training.config import TrainConfig
from pipeline.training.group import Group


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a run over all of a model's parameters."""
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            model.parameters(), lr=rate, alpha=config.rms_decay, weight_decay=decay, foreach=True
        )
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(model.parameters(), lr=rate, weight_decay=decay, fused=True)


def learning_rate(config: TrainConfig, step: int, epoch: int, total_steps: int) -> float:
    """The learning rate of the update that makes step `step` (from 1) in `epoch` (from 0)."""
    rate = config.learning_rate
    if config.schedule == "decay" and epoch >= config.decay_after:
        return rate * config.decay_rate ** (epoch - config.decay_after + 1)
    if config.schedule == "cosine":
        if step <= config.warmup_steps:
            return rate * step / config.warmup_steps
        done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
        return rate * (0.1 + 0.9 * (1 + math.cos(math.pi * min(1.0, done))) / 2)  # down to a tenth
    return rate


class FlatGradient:
    """All gradients of a model in one buffer, followed by a few numbers that ride along in the same
    all-reduce.

    Parameters' .grad are views of the buffer, so nothing is copied and there is one fixed order of
    summation.
    """

    def __init__(self, model: nn.Module, extras: int) -> None:
        parameters = list(model.parameters())
        self.size = sum(parameter.numel() for parameter in parameters)
        self.buffer = torch.zeros(
            self.size + extras, dtype=parameters[0].dtype, device=parameters[0].device
        )
        offset = 0
        for parameter in parameters:
            parameter.grad = self.buffer[offset : offset + parameter.numel()].view_as(parameter)
            offset += parameter.numel()

    @property
    def gradient(self) -> torch.Tensor:
        return self.buffer[: self.size]

    @property
    def extras(self) -> torch.Tensor:
        return self.buffer[self.size :]

    def zero(self) -> None:
        self.buffer.zero_()

    def reduce(self, group: Group, count: int) -> None:
        """Sum over ranks and divide the gradient by the global number of targets: exact for unequal
        ranks.
        """
        group.sum_often(self.buffer)
        self.gradient.div_(count)

    def clip(self, max_norm: float, max_value: float = 0.0) -> float:
        """Clip each element to `max_value`, then scale to an L2 norm of `max_norm` (0: do not);
        returns the norm before.
        """
        norm = float(torch.linalg.vector_norm(self.gradient))
        if max_value:
            self.gradient.clamp_(-max_value, max_value)
            if max_norm:
                clipped = float(torch.linalg.vector_norm(self.gradient))
                self.gradient.mul_(min(1.0, max_norm / max(clipped, 1e-30)))
            return norm
        if max_norm and norm > max_norm:
            self.gradient.mul_(max_norm / norm)
        return norm
