"""Optimisers, learning-rate schedules, and the flat gradient: data-parallel steps are exact."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from pipeline.training.config import TrainConfig
from pipeline.training.group import Group

_COSINE_END = 0.1  # of the learning rate: where the cosine schedule ends, unless it is told
_TINY_NORM = 1e-30  # stands for the norm of a gradient of zeros


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a run over all of a model's parameters."""
    rate = config.learning_rate
    weight_decay = config.weight_decay
    groups = _groups(model, config)
    # foreach and fused update all parameters in a few calls instead of some for each parameter.
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            groups,
            lr=rate,
            alpha=config.rms_decay,
            eps=config.eps,
            weight_decay=weight_decay,
            foreach=True,
        )
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    betas = (config.beta1, config.beta2)
    return kind(groups, lr=rate, betas=betas, eps=config.eps, weight_decay=weight_decay, fused=True)


def parameter_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The names of a model's parameters in the order in which an optimiser numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(each)] for group in optimizer.param_groups for each in group["params"]]


def _groups(model: nn.Module, config: TrainConfig) -> list[Any]:
    """The parameters for an optimiser: those that decay first, where not all do."""
    parameters = list(model.parameters())
    if config.weight_decay_on == "all":
        return parameters
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]


def learning_rate(config: TrainConfig, step: int, epoch: int, total_steps: int) -> float:
    """The learning rate of the update that makes step `step` (from 1) in `epoch` (from 0).

    Depends on nothing else, so a resumed run has no schedule to restore.
    """
    rate = config.learning_rate
    lowest = config.min_learning_rate
    if step <= config.warmup_steps:
        return rate * step / config.warmup_steps
    if config.schedule == "decay" and epoch >= config.decay_after:
        factors = (epoch - config.decay_after) // config.decay_every + 1
        return max(lowest, rate * config.decay_rate**factors)
    if config.schedule == "cosine":
        end = lowest / rate if lowest else _COSINE_END
        # max: a run may be all warm-up. min: one that goes on behind its end keeps the last rate.
        steps_of_decay = max(1, total_steps - config.warmup_steps)
        progress = min(1.0, (step - config.warmup_steps) / steps_of_decay)
        from_one_to_zero = (1 + math.cos(math.pi * progress)) / 2
        return rate * (end + (1 - end) * from_one_to_zero)
    return rate


class FlatGradient:
    """All gradients of a model in one buffer, followed by a few numbers that ride along.

    Parameters' .grad are views of the buffer: one sum over ranks takes everything, nothing is
    copied, and there is one fixed order of summation.
    """

    def __init__(self, model: nn.Module, extras: int) -> None:
        parameters = list(model.parameters())
        self.size = sum(parameter.numel() for parameter in parameters)
        first = parameters[0]
        self.buffer = torch.zeros(self.size + extras, dtype=first.dtype, device=first.device)
        offset = 0
        for parameter in parameters:
            end = offset + parameter.numel()
            parameter.grad = self.buffer[offset:end].view_as(parameter)
            offset = end

    @property
    def gradient(self) -> torch.Tensor:
        return self.buffer[: self.size]

    @property
    def extras(self) -> torch.Tensor:
        """The numbers that ride along; summed over ranks, never divided or clipped."""
        return self.buffer[self.size :]

    def zero(self) -> None:
        # In place: optimizer.zero_grad() would drop the views.
        self.buffer.zero_()

    def reduce(self, group: Group, count: int) -> None:
        """Sum over ranks and divide the gradient by the global number of targets.

        Exact for unequal ranks, where a mean of the ranks' means would not be.
        """
        group.sum_often(self.buffer)
        self.gradient.div_(count)

    def clip(self, max_norm: float, max_value: float = 0.0) -> float:
        """Clip each element to `max_value`, then scale to an L2 norm of `max_norm`; 0: do not.

        Returns the norm before.
        """
        norm = float(torch.linalg.vector_norm(self.gradient))
        if max_value:
            self.gradient.clamp_(-max_value, max_value)
            if max_norm:
                # Of what is left: the norm before would scale down what clipping has done already.
                clipped = float(torch.linalg.vector_norm(self.gradient))
                self.gradient.mul_(min(1.0, max_norm / max(clipped, _TINY_NORM)))
            return norm
        if max_norm and norm > max_norm:
            self.gradient.mul_(max_norm / norm)
        return norm
