"""Checks of a training run: everything that can be said before workers start. Imports no torch."""

from __future__ import annotations

import logging
import math
import os
import shutil
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import lease, runs, storage
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.errors import DamagedError, InputError
from pipeline.model.about import CorpusReference
from pipeline.model.config import CELLS
from pipeline.progress import bytes_of
from pipeline.training import estimate
from pipeline.training.config import (
    ENDS,
    FORKABLE,
    MAY_CHANGE,
    RESUMABLE,
    TrainConfig,
    later_defaults,
)
from pipeline.training.lanes import LanePlan, crossing

log = logging.getLogger("unreasonable")

START_FORMAT = 1
RESIZE_S = 60.0  # how often an elastic run looks whether it may grow; each resize is a restart
# Of a parameter in float32: itself, its gradient, two figures of the optimizer, and the snapshot of
# all but the gradient.
_BYTES_A_PARAMETER = 28
_CLUSTER_BYTES = 1 << 44  # no node of a cluster has as much


@dataclass(frozen=True)
class RunStart:
    """start.json: what a run was started with.

    `recipe` is the model's name, `config` all settings, resolved.
    """

    corpus: CorpusReference
    recipe: str
    config: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"format": START_FORMAT, **asdict(self)}

    @classmethod
    def read(cls, run: str) -> RunStart:
        """The start of the run whose folder is at a URL."""
        url = storage.join(run, runs.START)
        value = storage.read_json(url)
        try:
            corpus = CorpusReference.from_json(value["corpus"])
            recipe = _text(value["recipe"])
            for part in (corpus.name, corpus.version, corpus.fingerprint):
                _text(part)
            return cls(corpus, recipe, dict(value["config"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                f"{url} is not what a run starts with ({error}); restore it."
            ) from None

    def write(self, run: str) -> None:
        storage.write_json(storage.join(run, runs.START), self.to_json())


def check_run(config: TrainConfig, root: str) -> Corpus:
    """Open the run's corpus, and check that the run can start, or go on.

    Its splits are checked against the run's lanes, and a run to resume must be there. Raises
    InputError with the next move.
    """
    if config.resume:
        # Before Ray starts. The run itself takes the lease: see run.py.
        run = runs.run_url(root, config.resume)
        lease.check_free(storage.join(run, runs.LEASE), f"run {config.resume}")
    corpus = open_corpus_of(config, root)
    warning = crossing(corpus.manifest.streams, config.global_batch_size)
    if warning:
        log.warning("corpus %s: %s", corpus.name, warning)
    storage.check_writable(runs.runs_url(root))
    return corpus


def open_corpus_of(config: TrainConfig, root: str, *, shards: bool = True) -> Corpus:
    """`check_run` without the root's part. Without `shards` none is opened: remote ones would be
    fetched into the node's cache.
    """
    # First: it reads one small file, opening a corpus may fetch shards.
    if config.resume:
        check_same_settings(started(root, config.resume).config, config)
    elif config.fork:
        check_forkable(started(root, config.fork, finished=True).config, config)
    corpus = open_corpus(root, config.corpus)
    streams = corpus.manifest.streams
    plan = LanePlan.over(
        corpus.tokens_in("train"),
        streams,
        config.global_batch_size,
        config.seq_len,
        config.batches_per_update,
    )
    _check_warmup(config, plan)
    _check_compiler(config)
    _check_size(config, len(corpus.vocab))
    val = corpus.tokens_in("val")
    if val < 2:
        raise InputError(
            f"corpus {corpus.name} has {val} val tokens; evaluation needs 2: "
            "build it with a larger --val share."
        )
    # Here, so that a damaged shard is one clear line and not an error of every worker.
    for split in ("train", "val") if shards else ():
        corpus.open_split(split, verify=config.verify)
    return corpus


def check_machine(workers: int, cpus_per_worker: int = 1, *, use_gpu: bool = False) -> None:
    """Refuse what a local Ray could never run. What a cluster has is asked once it is connected.

    Before Ray starts, which takes 5-10 s, and before a run is recorded anywhere.
    """
    resize_s()
    if os.environ.get("RAY_ADDRESS"):
        return
    needed = workers * cpus_per_worker
    available = os.cpu_count() or 1
    if needed > available:
        raise InputError(
            f"{workers} workers need {needed} CPUs, this machine has {available}; "
            "lower --num_workers, or set RAY_ADDRESS to a cluster's."
        )
    gpus = _gpus() if use_gpu else workers
    if workers > gpus:
        raise InputError(
            f"{workers} workers need {workers} GPUs, this machine has {gpus}; "
            "leave out --use_gpu, or set RAY_ADDRESS to a cluster that has them."
        )


def resize_s() -> float:
    """Seconds between looks for new nodes: $UNREASONABLE_RESIZE_S, or the usual."""
    given = os.environ.get("UNREASONABLE_RESIZE_S") or str(RESIZE_S)
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(
            f"UNREASONABLE_RESIZE_S is {given!r}; it must be a number of seconds above 0."
        )
    return seconds


def started(root: str, run_id: str, *, finished: bool = False) -> RunStart:
    """What a run was started with. An unknown run is an InputError, and so is a finished one unless
    `finished`.
    """
    run = runs.run_url(root, run_id)
    # A path would lead out of the folder of runs.
    if "/" in run_id or not runs.is_run(run):
        newest = storage.names(runs.runs_url(root))[-5:]
        known = ", ".join(newest) or "none"
        raise InputError(f"no run {run_id!r} under {root}; the newest are: {known}.")
    if not finished and storage.exists(storage.join(run, runs.END)):
        raise InputError(f"run {run_id} is finished; start a new run, or sample its model.")
    return RunStart.read(run)


def check_same_settings(before: dict[str, Any], config: TrainConfig) -> None:
    """Raise InputError unless a run with settings `before` may go on with `config`.

    How often it evaluates may change. So may how long it goes on, but not under a schedule that is
    drawn towards the end: there it would change steps that have been made. `max_minutes` is no such
    end.
    """
    now = asdict(config)
    before = later_defaults() | before
    # By the names of before: a run of an older version may lack a setting that there is now.
    ends = {"max_minutes"} if config.schedule == "cosine" else ENDS
    may_change = MAY_CHANGE | RESUMABLE | ends
    changed = [
        name for name, value in before.items() if name not in may_change and now.get(name) != value
    ]
    if changed:
        were = ", ".join(f"--{name} {before[name]}" for name in changed)
        raise InputError(
            f"a resumed run keeps its settings; this one had {were}. "
            "Give these, or start a new run."
        )


def check_forkable(before: dict[str, Any], config: TrainConfig) -> None:
    """Raise InputError unless a run with settings `before` may have a fork with `config`.

    Model and batches stay: its checkpoint holds the state of both.
    """
    now = asdict(config)
    may_change = MAY_CHANGE | RESUMABLE | ENDS | FORKABLE
    changed = [
        name for name, value in before.items() if name not in may_change and now.get(name) != value
    ]
    if changed:
        were = ", ".join(f"--{name} {before[name]}" for name in changed)
        raise InputError(
            f"a fork keeps its parent's model and batches; that one had {were}. "
            "Give these, or start a new run."
        )


def say_changes(before: dict[str, Any], config: TrainConfig) -> None:
    """Warn of what a resumed run's figures are not quite comparable in any more."""
    if before.get("accumulate", config.accumulate) != config.accumulate:
        log.warning(
            "accumulate was %s: from here on a step's sums are added up in another order, and are "
            "equal up to rounding",
            before["accumulate"],
        )
    if before.get("eval_lanes", config.eval_lanes) != config.eval_lanes:
        log.warning(
            "eval_lanes was %s: a val_loss from here on compares with those before up to the start "
            "of each lane",
            before["eval_lanes"],
        )


def _check_warmup(config: TrainConfig, plan: LanePlan) -> None:
    """Warn of a warm-up that the run would never come out of: a short trial run may mean it."""
    total = config.total_steps(plan.steps_per_epoch)
    if config.schedule == "cosine" and config.warmup_steps >= total > 0:
        log.warning(
            "warmup_steps is %s, and the run has %s steps: its learning rate will never fall; "
            "lower --warmup_steps, or train longer",
            f"{config.warmup_steps:,}",
            f"{total:,}",
        )


def _check_compiler(config: TrainConfig) -> None:
    """Refuse to compile for a CPU where nothing compiles C++. A cluster's nodes are not asked."""
    if not config.compile or config.use_gpu or os.environ.get("RAY_ADDRESS"):
        return
    names = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    if not any(shutil.which(name) for name in names if name):
        raise InputError(
            "compile needs a C++ compiler, and this machine has none of $CXX, g++, clang++ and "
            "c++; install one, or leave out --compile."
        )


def _check_size(config: TrainConfig, vocab_size: int) -> None:
    """Refuse a model that its workers could not hold, and warn of a run that hardly fits.

    It would end a worker without a word, and Ray would start it again.
    """
    parameters = _parameters(config, vocab_size)
    on_cluster = bool(os.environ.get("RAY_ADDRESS"))
    workers = 1 if on_cluster else config.workers[0]  # a local Ray's are all on this machine
    needed = parameters * _BYTES_A_PARAMETER * workers
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = _CLUSTER_BYTES if on_cluster else memory
    if needed > available:
        share = f" on {workers} workers" if workers > 1 else ""
        raise InputError(
            f"a model of {parameters:,} parameters takes {bytes_of(needed)} to train{share}, and "
            f"there are {bytes_of(available)}; lower --hidden_size, --num_layers or "
            "--embedding_size."
        )
    if on_cluster or config.use_gpu:
        return
    total = estimate.memory(config, config.model(vocab_size)).total * workers
    if total > available:
        log.warning(
            "the run may take about %s of memory, and there are %s: lower --hidden_size, "
            "--global_batch_size, --seq_len or --num_workers, or raise --accumulate",
            bytes_of(total),
            bytes_of(available),
        )


def _parameters(config: TrainConfig, vocab_size: int) -> int:
    """Parameters of a run's model, without a list of its layers: there may be 10**12 by mistake."""
    gates = CELLS[config.cell].gates * config.hidden_size
    inputs = config.embedding_size or vocab_size
    first = gates * (inputs + config.hidden_size + 2)
    further = gates * (2 * config.hidden_size + 2)
    head = vocab_size * (config.hidden_size + 1)
    return vocab_size * config.embedding_size + first + (config.num_layers - 1) * further + head


def _gpus() -> int:
    # Late: torch takes 3 s, and is asked only for a run that wants a GPU.
    import torch

    return torch.cuda.device_count()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
