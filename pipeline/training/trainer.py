"""The Ray Train adapter: one training loop on each worker, restarts, stops, and where rank 0's results go."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from pipeline import storage
from pipeline.corpora.manifest import Corpus, open_version
from pipeline.errors import DivergedError, InputError
from pipeline.progress import Progress, log_to_stderr
from pipeline.training import checkpoint, loop
from pipeline.training.conductor import Conductor
from pipeline.training.config import TrainConfig
from pipeline.training.group import Group
from pipeline.training.rank import Trainer
from pipeline.training.scoring import bits_per_char
from pipeline.training.stopping import run_until_asked_to_stop
from pipeline.training.warm_start import warm_start
from pipeline.training.writer import CheckpointWriter

log = logging.getLogger("unreasonable")

INIT = "init"  # in a run's folder: the model that the run starts from
SAMPLES = "samples"
POLL_S = 0.5  # how often rank 0 asks whether to stop
LOOK_S = 5.0  # how often all ranks ask whether a node is about to go away

# Writes num_chars characters of a model's text: (trainer, num_chars) -> bytes. Given from outside: sampling comes later.
Sample = Callable[[Trainer, int], bytes]


def run_training(
    config: TrainConfig, root: str, run_id: str, name: str, corpus: Corpus, sample: Sample | None = None
) -> dict[str, Any]:
    """Train on Ray workers until the run ends, or is asked to stop by SIGINT or SIGTERM (see loop.train).

    Ray must be initialised. Checkpoints and metrics.jsonl go to <root>/runs/<run_id>/. A run that is there already goes
    on from its newest complete checkpoint, and so does one that loses a worker. Raises InputError for what workers
    refuse, and when restarts get the run no further.
    """
    import ray
    import ray.train
    from ray.train.torch import TorchTrainer
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    check_resources(config)
    filesystem, runs = _arrow_filesystem(storage.join(root, "runs"))
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    conductor = ray.remote(Conductor).options(num_cpus=0, scheduling_strategy=here).remote()
    settings = {"config": asdict(config), "corpus": corpus.url, "run": storage.join(root, "runs", run_id), "name": name}
    low, high = config.workers
    trainer = TorchTrainer(
        _worker,
        train_loop_config={**settings, "conductor": conductor, "sample": sample},
        scaling_config=ray.train.ScalingConfig(
            num_workers=low if low == high else (low, high),
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": config.cpus_per_worker, **({"GPU": 1} if config.use_gpu else {})},
            elastic_resize_monitor_interval_s=float(os.environ.get("UNREASONABLE_RESIZE_S") or 60),
        ),
        run_config=ray.train.RunConfig(
            name=run_id,
            storage_path=runs,
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=-1),  # the conductor ends a run that comes no further
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        result = run_until_asked_to_stop(trainer.fit, conductor.ask_to_stop.remote)
    finally:
        ray.kill(conductor)
    came_to = dict(result.return_value or {})
    if refused := came_to.get("refused"):
        raise InputError(refused)
    return came_to


def check_resources(config: TrainConfig) -> None:
    """Raise InputError when the cluster, grown as far as it can, could never meet the request, instead of waiting for it."""
    import ray
    from ray._private.state import state

    workers = config.workers[0]
    most = {**ray.cluster_resources(), **(state.get_max_resources_from_cluster_config() or {})}
    for kind, each in (("GPU", int(config.use_gpu)), ("CPU", config.cpus_per_worker)):
        needed, there = workers * each, int(most.get(kind, 0))
        if needed > there:
            raise InputError(f"{workers} workers need {needed} {kind}s, the cluster has {there}; lower --num_workers.")


def _arrow_filesystem(url: str) -> tuple[Any, str]:
    """The filesystem and path that Ray Train stores under: ours, wrapped for pyarrow."""
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    fs, path = storage.filesystem(url)
    if storage.is_local(url):
        os.makedirs(path, exist_ok=True)
    return PyFileSystem(FSSpecHandler(fs)), path


def _worker(given: dict[str, Any]) -> dict[str, Any]:
    """What each Ray Train worker runs. What is refused is returned, not raised: raising would only start it again."""
    import ray
    import ray.train.torch

    log_to_stderr()
    for quiet in ("", "ray.train"):  # every report() of every rank otherwise
        logging.getLogger(quiet).setLevel(logging.WARNING)
    config, group, conductor = TrainConfig(**given["config"]), Group(), given["conductor"]
    device = ray.train.torch.get_device() if config.use_gpu else torch.device("cpu")
    torch.set_num_threads(config.cpus_per_worker)
    if config.precision == "tf32":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    reporter = None
    try:
        refusal, trainer = "", None
        try:
            refusal = ray.get(conductor.begin.remote()) if group.leads else ""
            trainer = None if refusal else _trainer(config, given, device)
        except InputError as error:
            refusal = str(error)
        if refusal := group.first_text(refusal, device):
            return {"refused": refusal}
        assert trainer is not None
        reporter = RayReporter(trainer, given)
        came_to = loop.train(trainer, reporter, look_every_s=0.0 if _watches_nothing() else LOOK_S)
        reporter.finish(came_to)
        return came_to
    except DivergedError as error:  # on all ranks, at the same step
        return {"refused": str(error)}
    except Exception as error:
        ray.get(conductor.fail.remote(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"))
        raise
    finally:
        if reporter:
            reporter.close()


def _watches_nothing() -> bool:
    return os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") == "0"


def _trainer(config: TrainConfig, given: dict[str, Any], device: torch.device) -> Trainer:
    """A rank's trainer: where the run's newest checkpoint left off, or at its start."""
    trainer = Trainer(config, open_version(given["corpus"]), device)
    if newest := checkpoint.complete(given["run"]):
        trainer.load(storage.join(given["run"], newest[-1]))
    elif config.init_from:
        url = storage.join(given["run"], INIT)
        model, vocab, _ = checkpoint.load_model(checkpoint.fetch(url).files, config.init_from)
        shared = warm_start(trainer.model, trainer.corpus.vocab, model, vocab, config.init_from)
        if trainer.group.leads:
            log.info("starting from %s: %d of %d symbols known", config.init_from, shared, len(trainer.corpus.vocab))
    return trainer


class RayReporter:
    """Rank 0 writes checkpoints and samples, shows progress, and asks the conductor whether to stop."""

    def __init__(self, trainer: Trainer, given: dict[str, Any]) -> None:
        self.trainer, self.run_url, self.conductor = trainer, given["run"], given["conductor"]
        self.make_sample: Sample | None = given["sample"]
        self.leads = trainer.group.leads
        self.writer = CheckpointWriter(self.run_url, trainer.config.keep_checkpoints)
        self.closed, self.stop = threading.Event(), threading.Event()
        self.last_row: dict[str, Any] = {}
        if self.leads:
            self.bar = _progress(trainer, given["name"])
            self.poller = threading.Thread(target=self._poll, name="stop-poller", daemon=True)
            self.poller.start()

    def _poll(self) -> None:
        import ray

        while not self.closed.wait(POLL_S):
            try:
                if ray.get(self.conductor.reach.remote(self.trainer.step), timeout=10):
                    self.stop.set()
            except Exception as error:  # the driver is gone, and Ray will end this worker too
                log.warning("nobody to ask whether to stop: %s", type(error).__name__)
                return

    def stop_asked(self) -> bool:
        return self.stop.is_set()

    def progress(self, done: int, total: int, row: dict[str, Any]) -> None:
        if self.leads:
            self.last_row = {**({k: v for k, v in self.last_row.items() if k.startswith("val_")}), **row}
            self.bar.add(1, _note(self.last_row))

    def save(self, step: int, files: dict[str, bytes], journal: bytes) -> None:
        self.writer.submit(step, files, journal)

    def sample(self, trainer: Trainer) -> None:
        if self.make_sample:
            url = storage.join(self.run_url, SAMPLES, f"step-{trainer.step:06d}.txt")
            storage.write_bytes(url, self.make_sample(trainer, trainer.config.sample_chars))

    def leaving(self) -> bool:
        import ray.train

        return ray.train.get_preemption_info() is not None

    def finish(self, came_to: dict[str, Any]) -> None:
        """Wait for the last checkpoint; then tell Ray which one is the run's result."""
        import ray.train

        if self.leads:
            self.bar.finish(_note(self.last_row) if self.last_row else "nothing was left to do")
            self.writer.wait()
            if self.writer.error:
                raise OSError(f"the last checkpoint was not written: {self.writer.error}")
        if came_to["stopped"]:
            return
        best = checkpoint.best(self.run_url) if self.leads else None
        metrics = {key: value for key, value in came_to["best"].items() if value is not None}
        if best is None:
            ray.train.report(metrics)
            return
        store = ray.train.get_context().get_storage()
        path = storage.join(store.experiment_fs_path, best)
        ray.train.report(
            metrics,
            checkpoint=ray.train.Checkpoint(path, store.storage_filesystem),
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,  # it is where it belongs
        )

    def close(self) -> None:
        self.closed.set()
        self.writer.wait()


def _note(row: dict[str, Any]) -> str:
    note = f"epoch {row['epoch']}, loss {row['train_loss']:.3f}, {bits_per_char(row['train_loss']):.3f} bits/char"
    if "val_loss" in row:
        note += f", val {row['val_bits_per_char']:.3f} bits/char"
    return f"{note}, {row['chars_per_sec']:,.0f} chars/s"


def _progress(trainer: Trainer, name: str) -> Progress:
    parameters, tokens = trainer.model.num_parameters(), len(trainer.tokens)
    log.info(
        "train %s: %s parameters, %s train tokens, %s steps an epoch, %d workers",
        name, f"{parameters:,}", f"{tokens:,}", f"{trainer.plan.steps_per_epoch:,}", trainer.group.world_size,
    )  # fmt: skip
    # char-rnn's rule of thumb: parameters and characters should be of the same order of magnitude.
    if parameters > 10 * tokens:
        log.info("far more parameters than text: watch val_loss, raise --dropout, or lower --hidden_size")
    elif tokens > 10 * parameters:
        log.info("far more text than parameters: a larger --hidden_size or --num_layers would learn more from it")
    return Progress(f"train {name}", trainer.total_steps, "steps", every_s=5.0, start=trainer.step)
