"""What a training run does: the `train` section of a recipe. Imports no torch.

The docstring behind a field is its text in --help.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

from pipeline import settings, storage
from pipeline.errors import InputError
from pipeline.model.config import CellName, ModelConfig

# Settings that may differ when a run is resumed, and between runs that give the same model: what
# they change is where and how a run works, not what its steps compute.
MAY_CHANGE = {
    "corpus",  # a name, which may be NAME or NAME@VERSION; the fingerprint is compared elsewhere
    "verify",
    "num_workers",
    "cpus_per_worker",
    "gpus_per_worker",
    "use_gpu",
    "checkpoint_every",
    "keep_checkpoints",
    "sample_every",
    "sample_chars",
    "resume",
    "sync",
}
# These may differ when a run is resumed: no step's arithmetic depends on them. What is trained
# already is not found by them all the same: they decide which step is best, and where a run ends.
RESUMABLE = {"eval_every", "eval_lanes", "patience", "accumulate"}
# These a fork may have otherwise than its parent: they change steps that are still to be made.
FORKABLE = {
    "learning_rate",
    "schedule",
    "warmup_steps",
    "decay_rate",
    "decay_after",
    "max_grad_norm",
    "max_grad_value",
    "max_summed_grad_value",
    "min_learning_rate",
    "decay_every",
    "weight_decay",
    "max_rollbacks",
    "snapshot_every",
    "fork",
}
# So may these when a run is resumed, unless the schedule is drawn towards the end.
ENDS = {"max_steps", "max_epochs", "max_minutes"}
# Settings that came later, which files and digests leave out where they are the default: what was
# trained before them is still found, taken up, and written again with the same bytes.
LATER = {
    "initialization",
    "carry_state",
    "batches_per_update",
    "min_learning_rate",
    "decay_every",
    "beta1",
    "beta2",
    "eps",
    "weight_decay_on",
    "max_summed_grad_value",
    "max_rollbacks",
    "snapshot_every",
    "gpus_per_worker",
    "fork",
    "sync",
}

_AT_LEAST_1 = (
    "num_layers",
    "hidden_size",
    "global_batch_size",
    "seq_len",
    "eval_lanes",
    "keep_checkpoints",
    "accumulate",
    "sample_chars",
    "cpus_per_worker",
    "snapshot_every",
    "batches_per_update",
    "decay_every",
    "gpus_per_worker",
)
_AT_LEAST_0 = (
    "embedding_size",
    "warmup_steps",
    "decay_after",
    "max_steps",
    "max_epochs",
    "patience",
    "seed",
    "learning_rate",
    "decay_rate",
    "rms_decay",
    "weight_decay",
    "max_grad_norm",
    "max_grad_value",
    "max_minutes",
    "dropout",
    "max_rollbacks",
    "min_learning_rate",
    "beta1",
    "beta2",
    "max_summed_grad_value",
)


@dataclass(frozen=True)
class Interval:
    """How often something is due: every so many steps, or minutes; the other one is 0."""

    steps: int = 0
    minutes: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run: corpus, model, optimisation, and how long."""

    GROUPS: ClassVar[dict[str, str]] = {
        "corpus": "corpus",
        "cell": "model",
        "global_batch_size": "batches",
        "optimizer": "optimisation",
        "max_steps": "length",
        "eval_every": "evaluation",
        "checkpoint_every": "checkpoints",
        "sample_every": "samples on the way",
        "seed": "how it is computed",
        "num_workers": "where it runs",
    }
    """the groups of --help: the first setting of each, and its title"""

    corpus: str
    """corpus to learn: NAME, or NAME@VERSION"""
    verify: bool = False
    """read the corpus's every byte and compare digests before training"""
    cell: CellName = "lstm"
    """recurrent cell"""
    num_layers: int = 2
    """stacked recurrent layers"""
    hidden_size: int = 128
    """units a layer"""
    embedding_size: int = 0
    """size of a learned input embedding; 0: one-hot, as char-rnn"""
    dropout: float = 0.0
    """dropout between layers and before the head"""
    initialization: Literal["scaled", "uniform"] = "scaled"
    """first weights; uniform: all within 0.08 of zero, as char-rnn; scaled: by the size of layers,
    recurrent ones orthogonal
    """
    init_from: str = ""
    """start from a model's weights, matched by symbol: models:/NAME@ALIAS, a run id, or a
    checkpoint's URL
    """
    global_batch_size: int = 50
    """lanes: text streams that are read side by side, over all workers"""
    seq_len: int = 50
    """tokens a step reads from every lane: truncated backpropagation through time"""
    accumulate: int = 1
    """parts that a worker's lanes are computed in, one after another, to save memory; the step is
    the same up to rounding
    """
    batches_per_update: int = 1
    """successive batches of seq_len whose gradients make one update: a larger effective batch; a
    step is an update, and reads all of them
    """
    carry_state: bool = False
    """begin an epoch with the state that the last one ended with, as char-rnn; otherwise with zeros
    """
    optimizer: Literal["rmsprop", "adam", "adamw"] = "rmsprop"
    """update rule"""
    learning_rate: float = 2e-3
    """step size"""
    schedule: Literal["constant", "decay", "cosine"] = "constant"
    """learning rate over time; decay: char-rnn's, times decay_rate every epoch from decay_after on
    """
    warmup_steps: int = 0
    """steps of linear warm-up, before any schedule"""
    min_learning_rate: float = 0.0
    """decay and cosine: the rate does not go below this; 0: cosine ends at a tenth of the
    learning_rate, decay nowhere
    """
    decay_rate: float = 0.97
    """decay: factor per epoch, or per decay_every epochs"""
    decay_every: int = 1
    """decay: epochs from one factor to the next"""
    decay_after: int = 10
    """decay: epochs before the first factor"""
    rms_decay: float = 0.95
    """rmsprop: smoothing constant (char-rnn's decay_rate)"""
    beta1: float = 0.9
    """adam, adamw: smoothing constant of the gradient"""
    beta2: float = 0.999
    """adam, adamw: smoothing constant of the squared gradient"""
    eps: float = 1e-8
    """all optimizers: added to the root of the squared gradient"""
    weight_decay: float = 0.0
    """weight decay"""
    weight_decay_on: Literal["all", "matrices"] = "all"
    """what decays: all weights, or matrices alone and no biases"""
    max_grad_norm: float = 5.0
    """clip the gradient of the mean loss to this L2 norm; 0: do not"""
    max_grad_value: float = 0.0
    """clip each element of the mean loss's gradient to this size, before the norm; 0: do not"""
    max_summed_grad_value: float = 0.0
    """clip as char-rnn does, at 5 there: each element of the gradient of the loss summed over the
    seq_len steps (a seq_len-th of it on the mean), instead of max_grad_value; 0: do not
    """
    max_rollbacks: int = 10
    """divergence: how often training goes back to its snapshot, with half the learning rate, when a
    loss or gradient is no number or far outside of where it has been; the next time ends the run.
    0: the first number that is not finite ends it, and nothing else is watched
    """
    snapshot_every: int = 100
    """divergence: take the snapshot that training goes back to every so many steps
    """
    max_steps: int = 0
    """stop after this many steps; 0: no limit"""
    max_epochs: int = 50
    """stop after this many epochs; 0: no limit"""
    max_minutes: float = 0.0
    """stop after this many minutes of training; 0: no limit"""
    patience: int = 0
    """stop after this many evaluations in a row without a new lowest val_loss; 0: do not"""
    eval_every: int | str = field(default=500, metadata={"metavar": "N|5m"})
    """evaluate every so many steps, or minutes ("5m"); and once more at the end"""
    eval_lanes: int = 32
    """lanes that read the validation split side by side"""
    checkpoint_every: int | str = field(default="5m", metadata={"metavar": "N|5m"})
    """write a checkpoint every so many steps, or minutes ("5m"); also at each new lowest val_loss,
    and at the end
    """
    keep_checkpoints: int = 2
    """newest checkpoints to keep, besides the best"""
    resume: str = ""
    """go on with this run from its newest checkpoint: a run id; settings that are not given are the
    run's own
    """
    fork: str = ""
    """start a new run from the newest checkpoint of this run (an id), with another learning rate,
    schedule or clipping; settings that are not given are that run's
    """
    sync: str = ""
    """train nothing: tell the tracking server what it has not heard of this run (a run id), such as
    while it was away, and register its model if the run had ended
    """
    sample_every: int | str | list[int] = field(default=0, metadata={"metavar": "N|N,N"})
    """write a sample of the model as it stands every so many steps, or at the steps of a list
    ("100,300,500"); 0: never
    """
    sample_chars: int = 500
    """characters of such a sample"""
    seed: int = 1
    """seed of weights and dropout"""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """tf32 products, or bf16 autocast, on a GPU that has them"""
    compile: bool = False
    """torch.compile the model; needs a C++ compiler on every node"""
    num_workers: int | str = field(default=1, metadata={"metavar": "N|LOW:HIGH"})
    """data-parallel workers; LOW:HIGH lets a run lose and gain workers as the cluster does"""
    cpus_per_worker: int = 1
    """CPUs, and so threads, of each worker"""
    use_gpu: bool = False
    """train on GPUs, one a worker"""
    gpus_per_worker: int = 1
    """GPUs of each worker: one; for several, raise num_workers"""

    def __post_init__(self) -> None:
        settings.check(self)
        for option in _AT_LEAST_1:
            self._check_at_least(option, 1)
        for option in _AT_LEAST_0:
            self._check_at_least(option, 0)
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}; it must be above 0.")
        if not self.rms_decay < 1:
            raise InputError(f"rms_decay is {self.rms_decay}; it must be below 1.")
        if not self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}; it must be below 1.")
        if self.precision != "fp32" and not self.use_gpu:
            raise InputError(
                f"precision {self.precision} needs a GPU; give --use_gpu, or --precision fp32."
            )
        self._check_optimization()
        if self.compile and self.cell == "lstm" and not self.use_gpu:
            raise InputError(
                "compile cannot be had for an lstm on CPUs, which runs through a kernel of ours; "
                "leave out --compile, or give --use_gpu or another --cell."
            )
        self._check_it_ends()
        # Both raise InputError for a value that they cannot read.
        for option in ("eval_every", "checkpoint_every"):
            self.interval(option)
        self.samples_at(1)
        self._check_workers()

    @property
    def workers(self) -> tuple[int, int]:
        """The fewest and the most workers."""
        low, _, high = str(self.num_workers).partition(":")
        try:
            return int(low), int(high or low)
        except ValueError:
            raise InputError(
                f"num_workers is {self.num_workers!r}; it must be a number, or LOW:HIGH."
            ) from None

    @property
    def grad_value_limit(self) -> float:
        """What elements of the mean loss's gradient are clipped to; 0: they are not."""
        return self.max_grad_value or self.max_summed_grad_value / self.seq_len

    def interval(self, option: str) -> Interval:
        """An option that is a number of steps, or minutes such as "5m"."""
        value = str(getattr(self, option))
        try:
            if value.endswith("m"):
                interval = Interval(minutes=float(value[:-1]))
            else:
                interval = Interval(steps=int(value))
        except ValueError:
            interval = Interval()
        has_minutes = interval.minutes > 0 and math.isfinite(interval.minutes)
        if not (interval.steps > 0 or has_minutes):
            raise InputError(
                f"{option} is {value}; it must be a number of steps above 0, or minutes such as 5m."
            )
        return interval

    def samples_at(self, step: int) -> bool:
        """Whether a sample is due after a step."""
        every = self._sample_steps()
        if isinstance(every, list):
            return step in every
        return every > 0 and step % every == 0

    def model(self, vocab_size: int) -> ModelConfig:
        """The shape of the run's model."""
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

    def _check_at_least(self, option: str, low: float) -> None:
        value = getattr(self, option)
        if value < low:
            raise InputError(f"{option} is {value}; it must be a number of at least {low}.")

    def _check_optimization(self) -> None:
        for option in ("beta1", "beta2"):
            if not getattr(self, option) < 1:
                raise InputError(f"{option} is {getattr(self, option)}; it must be below 1.")
        if not self.eps > 0:
            raise InputError(f"eps is {self.eps}; it must be above 0.")
        if self.min_learning_rate > self.learning_rate:
            raise InputError(
                f"min_learning_rate is {self.min_learning_rate}; "
                f"it must be at most learning_rate, {self.learning_rate}."
            )
        if self.max_grad_value and self.max_summed_grad_value:
            raise InputError(
                "max_grad_value and max_summed_grad_value clip the same elements; give one of them."
            )

    def _check_it_ends(self) -> None:
        last_step_is_known = self.max_steps or self.max_epochs
        if not (last_step_is_known or self.max_minutes):
            raise InputError(
                "the run would never end: give --max_steps, --max_epochs or --max_minutes."
            )
        if self.schedule == "cosine" and not last_step_is_known:
            raise InputError(
                "schedule cosine needs to know its end: give --max_steps or --max_epochs."
            )

    def _check_workers(self) -> None:
        if self.gpus_per_worker > 1:
            raise InputError(
                f"gpus_per_worker is {self.gpus_per_worker}; a worker trains on one GPU. "
                "For several, give --use_gpu and a worker each: --num_workers "
                f"{self.gpus_per_worker}."
            )
        low, high = self.workers
        if not 1 <= low <= high:
            raise InputError(
                f"num_workers is {self.num_workers}; "
                "it must be at least 1, or LOW:HIGH with LOW at least 1."
            )
        if high > self.global_batch_size:
            raise InputError(
                f"{high} workers share {self.global_batch_size} lanes; "
                "each needs one at least: lower --num_workers or raise --global_batch_size."
            )

    def _sample_steps(self) -> int | list[int]:
        """sample_every as a number, or as a list of steps; a command line gives either as text."""
        every = self.sample_every
        if isinstance(every, str):
            try:
                steps = [int(part) for part in every.split(",")]
            except ValueError:
                raise InputError(
                    f"sample_every is {every!r}; "
                    "it must be a number of steps, or a list such as 100,300."
                ) from None
            every = steps if "," in every else steps[0]
        if isinstance(every, int) and every < 0:
            raise InputError(f"sample_every is {every}; it must be at least 0.")
        return every


def stored_settings(config: TrainConfig) -> dict[str, Any]:
    """All settings, as a checkpoint and a model hold them."""
    return _without_later_defaults(asdict(config))


def settings_digest(settings: dict[str, Any]) -> str:
    """A short digest of the settings that decide a model's weights.

    By it a trained model is found again, so what it is made of must not change.
    """
    known = _without_later_defaults(settings)
    kept = {key: value for key, value in known.items() if key not in MAY_CHANGE}
    return storage.sha256_bytes(json.dumps(kept, sort_keys=True).encode())[:12]


def later_defaults() -> dict[str, Any]:
    """What a run had for settings that came after it."""
    return {field.name: field.default for field in fields(TrainConfig) if field.name in LATER}


def _without_later_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    defaults = later_defaults()
    return {
        key: value
        for key, value in settings.items()
        if key not in defaults or value != defaults[key]
    }
