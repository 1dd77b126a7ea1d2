"""A model and its optimiser as they were at a step, kept in memory: what a rollback goes back to.

Costs the memory of both once more (Adam: three tensors a weight), and as much of each checkpoint,
since a resumed run must be able to roll back to the same step.
"""

from __future__ import annotations

from dataclasses import dataclass

import safetensors.torch
import torch
from torch import nn

from pipeline.training import checkpoint

SNAPSHOT = "snapshot.safetensors"
_WEIGHTS = "weights/"
_OPTIMIZER = "optimizer/"


@dataclass(frozen=True)
class Snapshot:
    """Copies: weights by parameter, and the optimiser's state by 'parameter/key'."""

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]

    @classmethod
    def of(cls, model: nn.Module, optimizer: torch.optim.Optimizer, names: list[str]) -> Snapshot:
        """What a model and its optimiser are now. `names` are in the optimiser's order."""
        weights = {name: value.detach().clone() for name, value in model.named_parameters()}
        state = checkpoint.optimizer_tensors(optimizer, names)
        return cls(weights, {name: value.clone() for name, value in state.items()})

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer, names: list[str]) -> None:
        """Make a model and its optimiser what they were. May be called again and again."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.weights[name])
        # Copies: torch would take these very tensors, and update them in place.
        copies = {name: value.clone() for name, value in self.optimizer.items()}
        checkpoint.load_optimizer(optimizer, names, copies)

    def to_bytes(self) -> bytes:
        """snapshot.safetensors."""
        tensors = {
            **{_WEIGHTS + name: value for name, value in self.weights.items()},
            **{_OPTIMIZER + name: value for name, value in self.optimizer.items()},
        }
        own = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        return safetensors.torch.save(own)

    @classmethod
    def from_bytes(cls, data: bytes, source: str, device: torch.device) -> Snapshot:
        """The inverse of `to_bytes`; DamagedError names `source` for other bytes."""
        tensors = checkpoint.load_tensors(data, source)
        weights = {
            name.removeprefix(_WEIGHTS): value.to(device)
            for name, value in tensors.items()
            if name.startswith(_WEIGHTS)
        }
        optimizer = {
            name.removeprefix(_OPTIMIZER): value
            for name, value in tensors.items()
            if name.startswith(_OPTIMIZER)
        }
        return cls(weights, optimizer)
