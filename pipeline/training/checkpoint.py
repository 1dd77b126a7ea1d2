"""What a checkpoint holds beyond the model's three files, to go on exactly.

    weights.safetensors config.json vocab.json       the model (model/artifact.py)
    optimizer.safetensors lanes.safetensors state.json
    snapshot.safetensors                             what a rollback goes back to (snapshot.py)
    digests.json                                     SHA-256 of each file above; written last

Nothing here is a pickle: safetensors and JSON only. See docs/formats.md. Shapes: L layers, S
tensors of state a layer, B lanes, H hidden.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from pipeline import runs
from pipeline.errors import DamagedError
from pipeline.model.about import CorpusReference
from pipeline.model.artifact import json_bytes
from pipeline.training.artifact import fetched  # noqa: F401  # an old name; see that file
from pipeline.training.healing import Healing
from pipeline.training.journal import JournalState

OPTIMIZER = "optimizer.safetensors"
LANES = "lanes.safetensors"


@dataclass(frozen=True)
class Best:
    """The step with the lowest validation loss so far; None before the first evaluation."""

    step: int | None = None
    val_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class CheckpointState:
    """state.json: where a run stood. `minutes` are of training, `stale` evaluations since the best.

    `val_loss` is None where the step was not evaluated. `journal` identifies the rows up to the
    step; `config` are the run's settings; `world_size` is for people, since any number of ranks may
    go on. `healing` is left out where nothing has been watched: older checkpoints have none.
    `evaluated` is the minutes of training at the newest evaluation, left out where there was none.
    """

    step: int
    epoch: int
    minutes: float
    val_loss: float | None
    best: Best
    stale: int
    journal: JournalState
    corpus: CorpusReference
    config: dict[str, Any]
    world_size: int
    healing: Healing = field(default_factory=Healing)
    evaluated: float = 0.0

    def to_json(self) -> dict[str, Any]:
        value = {"format": runs.CHECKPOINT_FORMAT, **asdict(self)}
        if self.healing == Healing():
            del value["healing"]
        if not self.evaluated:
            del value["evaluated"]
        return value

    @classmethod
    def read(cls, url: str) -> CheckpointState:
        """The state of the checkpoint at a URL.

        Another format, or what is no state, is refused by name.
        """
        value = runs.read_state(url)
        try:
            values = {key: item for key, item in value.items() if key != "format"}
            values["best"] = Best(**value["best"])
            values["journal"] = JournalState.from_json(value["journal"])
            values["corpus"] = CorpusReference.from_json(value["corpus"])
            if "healing" in value:
                values["healing"] = Healing.from_json(value["healing"])
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise DamagedError(
                f"{url}/{runs.STATE} is no checkpoint's state ({error}); restore it."
            ) from None


def training_files(
    optimizer: dict[str, torch.Tensor], lanes: torch.Tensor, state: CheckpointState
) -> dict[str, bytes]:
    """The three files that make a model's files a checkpoint.

    `lanes` is the state of all lanes, (L, S, B, H).
    """
    return {
        OPTIMIZER: safetensors.torch.save(optimizer),
        LANES: safetensors.torch.save({"state": lanes.detach().cpu().contiguous()}),
        runs.STATE: json_bytes(state.to_json()),
    }


def load_tensors(data: bytes, source: str) -> dict[str, torch.Tensor]:
    """The tensors of safetensors bytes; anything else, such as a pickle, is refused by name."""
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedError(
            f"{source} is not a safetensors file ({error}); fetch the model again."
        ) from None


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: list[str]
) -> dict[str, torch.Tensor]:
    """An optimiser's state as 'parameter/key' tensors.

    `names` are the parameters' names in the optimiser's order: torch numbers them, and a number
    would say nothing to a reader of the file.
    """
    # By the parameter's number: {"exp_avg": tensor, "step": tensor, ...}, torch.optim's own keys.
    state = optimizer.state_dict()["state"]
    return {
        f"{names[index]}/{key}": value.detach().cpu().contiguous()
        for index, values in state.items()
        for key, value in values.items()
        if isinstance(value, torch.Tensor)
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, names: list[str], stored: dict[str, torch.Tensor]
) -> None:
    """The inverse of `optimizer_tensors`."""
    values: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in stored.items():
        # The last slash, since torch.optim's keys have none.
        parameter, _, key = name.rpartition("/")
        values.setdefault(names.index(parameter), {})[key] = tensor
    # Groups (the rate, decay) stay this run's own; load_state_dict wants both.
    optimizer.load_state_dict(optimizer.state_dict() | {"state": values})
