"""What a training run does: the `train` section of a recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import InputError

# Settings that may differ when a run is resumed, and between runs that give the same model: what they change is where
# and how a run works, not what its steps compute.
MAY_CHANGE = {"num_workers", "use_gpu", "resume", "keep_checkpoints", "checkpoint_every", "corpus"}
# So may these when a run is resumed, unless the schedule is drawn towards the end.
ENDS = {"max_steps", "max_epochs", "max_minutes"}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a recurrent character model; stored with its weights."""

    vocab_size: int
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    num_layers: int = 2
    hidden_size: int = 128
    embedding_size: int = 0
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run: corpus, model, optimisation, and how long."""

    corpus: str
    """corpus to learn: NAME, or NAME@VERSION"""
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    """recurrent cell"""
    num_layers: int = 2
    """stacked recurrent layers"""
    hidden_size: int = 128
    """units a layer"""
    embedding_size: int = 0
    """size of a learned input embedding; 0: one-hot, as char-rnn"""
    dropout: float = 0.0
    """dropout between layers and before the head"""
    global_batch_size: int = 50
    """lanes: text streams that are read side by side, over all workers"""
    seq_len: int = 50
    """tokens a step reads from every lane: truncated backpropagation through time"""
    optimizer: Literal["rmsprop", "adam", "adamw"] = "rmsprop"
    """update rule"""
    learning_rate: float = 2e-3
    """step size"""
    schedule: Literal["constant", "decay", "cosine"] = "constant"
    """learning rate over time; decay: char-rnn's, times decay_rate every epoch from decay_after on"""
    warmup_steps: int = 0
    """cosine: steps of linear warm-up"""
    decay_rate: float = 0.97
    """decay: factor per epoch"""
    decay_after: int = 10
    """decay: epochs before the first factor"""
    rms_decay: float = 0.95
    """rmsprop: smoothing constant (char-rnn's decay_rate)"""
    weight_decay: float = 0.0
    """weight decay"""
    max_grad_norm: float = 5.0
    """clip the gradient of the mean loss to this L2 norm; 0: do not clip"""
    max_steps: int = 0
    """stop after this many steps; 0: no limit"""
    max_epochs: int = 50
    """stop after this many epochs; 0: no limit"""
    max_minutes: float = 0.0
    """stop after this many minutes of training; 0: no limit"""
    eval_every: int = 500
    """steps between evaluations, each of which also writes a checkpoint; one more at the end"""
    eval_lanes: int = 32
    """lanes that read the validation split side by side"""
    checkpoint_every: int = 0
    """steps between further checkpoints; 0: only at evaluations"""
    keep_checkpoints: int = 2
    """checkpoints to keep: the best ones and always the newest"""
    seed: int = 1
    """seed of weights and dropout"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast on a GPU that has it"""
    num_workers: int = 1
    """data-parallel workers, one CPU or GPU each"""
    use_gpu: bool = False
    """train on GPUs"""
    resume: str = ""
    """go on with this run from its newest checkpoint: a run id"""

    def __post_init__(self) -> None:
        for option in (
            "num_layers",
            "hidden_size",
            "global_batch_size",
            "seq_len",
            "eval_every",
            "eval_lanes",
            "keep_checkpoints",
        ):
            self._at_least(option, 1)
        for option in (
            "embedding_size",
            "warmup_steps",
            "decay_after",
            "max_steps",
            "max_epochs",
            "checkpoint_every",
            "num_workers",
        ):
            self._at_least(option, 0)
        for option in ("learning_rate", "decay_rate", "rms_decay", "weight_decay", "max_grad_norm", "max_minutes", "dropout"):
            self._at_least(option, 0.0)
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}; it must be above 0.")
        if not self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}; it must be below 1.")
        if not (self.max_steps or self.max_epochs or self.max_minutes):
            raise InputError("the run would never end: give --max_steps, --max_epochs or --max_minutes.")
        if self.schedule == "cosine" and not (self.max_steps or self.max_epochs):
            raise InputError("schedule cosine needs to know its end: give --max_steps or --max_epochs.")
        if self.num_workers > self.global_batch_size:
            raise InputError(
                f"{self.num_workers} workers share {self.global_batch_size} lanes; "
                "each needs one at least: lower --num_workers or raise --global_batch_size."
            )

    def _at_least(self, option: str, low: float) -> None:
        value = getattr(self, option)
        if not (math.isfinite(value) and value >= low):
            raise InputError(f"{option} is {value}; it must be a number of at least {low}.")

    def model(self, vocab_size: int) -> ModelConfig:
        return ModelConfig(
            vocab_size=vocab_size,
            cell=self.cell,
            num_layers=self.num_layers,
            hidden_size=self.hidden_size,
            embedding_size=self.embedding_size,
            dropout=self.dropout,
        )

    def total_steps(self, steps_per_epoch: int) -> int:
        """Steps after which the run ends whatever the clock says; 0: only the clock ends it."""
        limits = [self.max_steps, self.max_epochs * steps_per_epoch]
        return min((limit for limit in limits if limit), default=0)
