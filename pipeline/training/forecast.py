"""What a run would do: its model, its steps, how it ends, memory and time, and what is there
already. Imports no torch, starts nothing, writes nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import runs, storage
from pipeline.corpora.interleaved import Streams
from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.estimates import RAY_START_S, Estimate, check_could_write
from pipeline.registry.looking import needs_registry, registry
from pipeline.training import estimate
from pipeline.training.config import TrainConfig, settings_digest
from pipeline.training.estimate import FLOAT, MemoryEstimate
from pipeline.training.lanes import LanePlan, crossing
from pipeline.training.preflight import open_corpus_of

# From a Ray that is there to the first step: two workers took 14-18 s.
WORKERS_START_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Text:
    """What a run learns from: a corpus version that is there, or (version "") one to be built.

    `whole` is false where tokens and vocabulary are extrapolated.
    """

    name: str
    version: str
    fingerprint: str
    unit: str
    vocab_size: int
    train_tokens: int
    val_tokens: int
    whole: bool
    streams: Streams | None = None

    @classmethod
    def of(cls, corpus: Corpus) -> Text:
        return cls(
            name=corpus.name,
            version=corpus.version,
            fingerprint=corpus.fingerprint,
            unit=corpus.vocab.unit,
            vocab_size=len(corpus.vocab),
            train_tokens=corpus.tokens_in("train"),
            val_tokens=corpus.tokens_in("val"),
            whole=True,
            streams=corpus.manifest.streams,
        )


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """The run that --resume names: its newest complete checkpoint, which it goes on from."""

    run_id: str
    checkpoint: str | None
    step: int
    minutes: float
    best_step: int | None
    best_val_loss: float | None


@dataclass(frozen=True, kw_only=True)
class TrainForecast:
    """What a training run would be.

    `total_steps` is 0 where only the clock ends the run; `steps` are those still to be made.
    `same_settings` is the registered model that these settings gave on this corpus version:
    reproduce takes it instead of training again.
    """

    model: str
    text: Text
    parameters: int
    shape: dict[str, Any]
    lanes: int
    lanes_by_worker: tuple[int, ...]
    tokens_per_step: int
    steps_per_epoch: int
    total_steps: int
    steps: int
    ends: tuple[str, ...]
    evaluations: int | None
    checkpoints: str
    checkpoint_bytes: int
    memory: MemoryEstimate
    seconds: Estimate | None
    same_settings: str | None
    resumed: Resumed | None
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "memory": self.memory.to_json()}


def forecast(
    config: TrainConfig, root: str, name: str, text: Text | None, cpus: int | None
) -> TrainForecast:
    """Say what a run of `config` would be, as model `name`.

    `text` stands for a corpus that is still to be built; None opens the run's corpus and checks the
    run as preflight does. `cpus` are those that all workers share, None where each has its own.
    """
    resumed = _resumed(config, root) if config.resume else None
    if text is None:
        text = Text.of(open_corpus_of(config, root, shards=storage.is_local(root)))
    check_could_write(runs.runs_url(root))
    plan = LanePlan.over(
        text.train_tokens,
        text.streams,
        config.global_batch_size,
        config.seq_len,
        config.batches_per_update,
    )
    model = config.model(text.vocab_size)
    total = config.total_steps(plan.steps_per_epoch)
    steps = max(0, total - (resumed.step if resumed else 0))
    evaluations = _evaluations(config, steps)
    low, high = config.workers
    workers = [_lanes(rank, high, config.global_batch_size) for rank in range(high)]
    return TrainForecast(
        model=name,
        text=text,
        parameters=estimate.parameters(model),
        shape=asdict(model),
        lanes=config.global_batch_size,
        lanes_by_worker=tuple(workers),
        tokens_per_step=plan.tokens_per_step,
        steps_per_epoch=plan.steps_per_epoch,
        total_steps=total,
        steps=steps,
        ends=tuple(_ends(config, plan)),
        evaluations=evaluations,
        checkpoints=_checkpoints(config),
        checkpoint_bytes=_checkpoint_bytes(config, text.vocab_size),
        memory=estimate.memory(config, model),
        seconds=_seconds(config, text, steps, evaluations, cpus),
        same_settings=_same_settings(config, root, name, text),
        resumed=resumed,
        warnings=tuple(_warnings(config, root, text, low, cpus)),
    )


def _lanes(rank: int, workers: int, lanes: int) -> int:
    return (rank + 1) * lanes // workers - rank * lanes // workers


def _resumed(config: TrainConfig, root: str) -> Resumed:
    """Where the run to resume stands. preflight has refused an unknown or finished run."""
    run = runs.run_url(root, config.resume)
    # The JSON alone: checkpoint.py, which knows its type, imports torch.
    newest = runs.newest_state(run)
    if newest is None:
        return Resumed(
            run_id=config.resume,
            checkpoint=None,
            step=0,
            minutes=0.0,
            best_step=None,
            best_val_loss=None,
        )
    name, state = newest
    url = storage.join(run, name)
    best = state.get("best") or {}
    return Resumed(
        run_id=config.resume,
        checkpoint=url,
        step=int(state["step"]),
        minutes=float(state["minutes"]),
        best_step=best.get("step"),
        best_val_loss=best.get("val_loss"),
    )


def _ends(config: TrainConfig, plan: LanePlan) -> list[str]:
    """What ends the run; the first of them to come does."""
    ends = []
    if config.max_steps:
        epochs = config.max_steps / plan.steps_per_epoch
        ends.append(f"max_steps: step {config.max_steps:,}, epoch {epochs:.1f}")
    if config.max_epochs:
        last = config.max_epochs * plan.steps_per_epoch
        ends.append(f"max_epochs: epoch {config.max_epochs}, step {last:,}")
    if config.max_minutes:
        ends.append(f"max_minutes: {config.max_minutes:g} minutes of training")
    if config.patience:
        ends.append(f"patience: {config.patience} evaluations without a lower val_loss")
    return ends


def _evaluations(config: TrainConfig, steps: int) -> int | None:
    """Evaluations in so many steps, the last step's with them; None where the clock decides."""
    every = config.interval("eval_every").steps
    if not (every and steps):
        return None
    return math.ceil(steps / every)


def _checkpoints(config: TrainConfig) -> str:
    every = config.interval("checkpoint_every")
    often = f"{every.steps:,} steps" if every.steps else f"{every.minutes:g} minutes"
    return (
        f"every {often}, at each lowest val_loss and at the end; "
        f"the newest {config.keep_checkpoints} and the best are kept"
    )


def _checkpoint_bytes(config: TrainConfig, vocab_size: int) -> int:
    """All checkpoints that are kept at once: weights and the optimiser's tensors, the snapshot of
    both, and the lanes' state.
    """
    model = config.model(vocab_size)
    tensors = 2 * (1 + estimate.OPTIMIZER_TENSORS[config.optimizer])
    state = model.num_layers * model.traits.states * config.global_batch_size * model.hidden_size
    one = FLOAT * (tensors * estimate.parameters(model) + state)
    return (config.keep_checkpoints + 1) * one


def _seconds(
    config: TrainConfig, text: Text, steps: int, evaluations: int | None, cpus: int | None
) -> Estimate | None:
    step = estimate.step_seconds(config, config.model(text.vocab_size), cpus)
    start = RAY_START_S + WORKERS_START_S
    if step is None:
        return None
    if not steps:
        if not config.max_minutes:
            return Estimate(start, "nothing is left to train")
        return Estimate(start + 60 * config.max_minutes, "max_minutes, and the start")
    scored = (evaluations or 1) * estimate.evaluation_seconds(step, config, text.val_tokens)
    training = step.value * steps
    if config.max_minutes:
        training = min(training, 60 * config.max_minutes)
    value = round(start + training + scored, 1)
    basis = (
        f"{start:.0f} s to start Ray and its workers, {steps:,} steps of {step.value * 1e3:.1f} ms "
        f"({step.basis}), {scored:.0f} s of evaluation"
    )
    return Estimate(value, basis)


def _same_settings(config: TrainConfig, root: str, name: str, text: Text) -> str | None:
    """The model that ensure_trained would find instead of training (run.py has the same rule)."""
    models = registry(root)
    if config.init_from:
        _check_donor(config, root, text, has_registry=models is not None)
    if models is None or not text.fingerprint or config.resume:
        return None
    version = models.trained(name, settings_digest(asdict(config)), text.fingerprint)
    return version.uri if version else None


def _check_donor(config: TrainConfig, root: str, text: Text, *, has_registry: bool) -> None:
    """Refuse a model to start from that is not there, or has another shape or unit."""
    if needs_registry(config.init_from) and not has_registry:
        raise InputError(
            f"no model {config.init_from}: nothing is registered under {root}; "
            "leave --init_from out, or train that model first."
        )
    # Late: it imports mlflow.
    from pipeline.model.artifact import parse_vocab
    from pipeline.registry.fetch import fetch_model

    donor = fetch_model(config.init_from, root)
    ours = asdict(config.model(text.vocab_size))
    theirs = asdict(donor.about.model)
    may_differ = {"vocab_size", "dropout"}
    different = [
        f"{key} {theirs[key]} (not {ours[key]})"
        for key in ours
        if key not in may_differ and ours[key] != theirs[key]
    ]
    if different:
        raise InputError(
            f"{donor.uri} has {', '.join(different)}; --init_from needs the same shape."
        )
    unit = parse_vocab(donor.files, donor.uri).unit
    if unit != text.unit:
        raise InputError(
            f"{donor.uri} knows {unit}s, the corpus has {text.unit}s; "
            "--init_from needs the same unit."
        )


def _warnings(config: TrainConfig, root: str, text: Text, low: int, cpus: int | None) -> list[str]:
    said = []
    if not text.whole:
        said.append(
            "the corpus is still to be built: its tokens and symbols are estimated, and with them "
            "parameters and steps"
        )
    needed = low * config.cpus_per_worker
    if cpus is not None and needed > cpus:
        said.append(f"{needed} CPUs are asked for, this machine has {cpus}: the run would wait")
    if config.use_gpu:
        said.append("no time is estimated for GPUs")
    if not storage.is_local(root):
        said.append("the root is remote: shards are not looked at")
    crosses = crossing(text.streams, config.global_batch_size)
    if crosses:
        said.append(crosses)
    return said
