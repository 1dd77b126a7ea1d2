"""The adapter to Ray Train: a training loop on each worker, restarts, stops, rank 0's results."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus, open_version
from pipeline.errors import InputError, StoreError
from pipeline.model.artifact import load_network, read_artifact
from pipeline.progress import Standing, log_to_stderr
from pipeline.training import loop
from pipeline.training.conductor import Conductor
from pipeline.training.config import TrainConfig
from pipeline.training.group import Group
from pipeline.training.loop import RunResult
from pipeline.training.preflight import resize_s
from pipeline.training.preview import preview
from pipeline.training.resuming import newest_whole
from pipeline.training.standing import StandingWatch, introduce, progress_of, standing_of
from pipeline.training.stopping import run_until_asked_to_stop
from pipeline.training.trainer import Trainer
from pipeline.training.warm_start import warm_start
from pipeline.training.writer import CheckpointWriter

log = logging.getLogger("unreasonable")

STOP_POLL_S = 0.5  # how often rank 0 asks whether to stop
PREEMPTION_CHECK_S = 5.0  # how often all ranks ask whether a node is about to go away
CONDUCTOR_TIMEOUT_S = 10.0
MAX_REASON_CHARS = 500


def run_training(
    config: TrainConfig, root: str, run_id: str, name: str, corpus: Corpus
) -> RunResult:
    """Train on Ray workers until the run ends, or is asked to stop by SIGINT or SIGTERM (see
    loop.train).

    Ray must be initialised. Checkpoints and metrics.jsonl go to <root>/runs/<run_id>/. A run that
    is there already goes on from its newest complete checkpoint, and so does one that loses a
    worker. Raises InputError for what workers refuse, and when restarts get the run no further.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    check_resources(config)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    conductor = ray.remote(Conductor).options(num_cpus=0, scheduling_strategy=here).remote()
    session = {
        "config": asdict(config),
        "corpus": corpus.url,
        "run": runs.run_url(root, run_id),
        "name": name,
        "conductor": conductor,
    }
    trainer = _ray_trainer(config, root, run_id, session)
    watch = StandingWatch(_reader(conductor), name)
    try:
        with _own_address():
            result = run_until_asked_to_stop(trainer.fit, conductor.ask_to_stop.remote)
    finally:
        watch.stop()
        ray.kill(conductor)
    returned = dict(result.return_value or {})
    if returned.get("refused"):
        raise InputError(returned["refused"])
    return RunResult.from_json(returned)


def _reader(conductor: Any) -> Callable[[], Standing | None]:
    """What the driver asks the conductor by; None also for one that does not answer."""
    import ray

    def read() -> Standing | None:
        try:
            return ray.get(conductor.read.remote(), timeout=CONDUCTOR_TIMEOUT_S)
        except Exception:  # of Ray's own kinds: progress is not shown, and nothing else is lost
            return None

    return read


@contextlib.contextmanager
def _own_address() -> Iterator[None]:
    """Tell the actors of Ray Train which Ray they belong to.

    One of them, the cleaner of placement groups, asks the state API without an address. Ray then
    looks for a Ray on its machine, and fails with a traceback when there are two.
    """
    import ray
    from ray.train.v2._internal import constants

    name = "RAY_ADDRESS"
    constants.ENV_VARS_TO_PROPAGATE.add(name)
    before = os.environ.get(name)
    os.environ[name] = ray.get_runtime_context().gcs_address
    try:
        yield
    finally:
        constants.ENV_VARS_TO_PROPAGATE.discard(name)
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def check_resources(config: TrainConfig) -> None:
    """Raise InputError when the cluster, grown as far as it can, could never meet the request.

    Ray itself would wait for it without end.
    """
    import ray
    from ray._private.state import state

    workers, _ = config.workers
    grown = state.get_max_resources_from_cluster_config() or {}
    largest = {**ray.cluster_resources(), **grown}
    per_worker = {"GPU": int(config.use_gpu), "CPU": config.cpus_per_worker}
    for kind, each in per_worker.items():
        needed = workers * each
        available = int(largest.get(kind, 0))
        if needed > available:
            raise InputError(
                f"{workers} workers need {needed} {kind}s, the cluster has {available}; "
                "lower --num_workers."
            )


def _ray_trainer(config: TrainConfig, root: str, run_id: str, session: dict[str, Any]) -> Any:
    import ray.train
    from ray.train.torch import TorchTrainer

    filesystem, path = _arrow_filesystem(runs.runs_url(root))
    low, high = config.workers
    resources = {"CPU": config.cpus_per_worker}
    if config.use_gpu:
        resources["GPU"] = 1
    return TorchTrainer(
        _worker,
        train_loop_config=session,
        scaling_config=ray.train.ScalingConfig(
            num_workers=low if low == high else (low, high),
            use_gpu=config.use_gpu,
            resources_per_worker=resources,
            elastic_resize_monitor_interval_s=resize_s(),
        ),
        run_config=ray.train.RunConfig(
            name=run_id,
            storage_path=path,
            storage_filesystem=filesystem,
            # Ray counts failures over the whole run. The conductor ends a run instead, once it
            # comes no further.
            failure_config=ray.train.FailureConfig(max_failures=-1),
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )


def _arrow_filesystem(url: str) -> tuple[Any, str]:
    """The filesystem and path that Ray Train stores under: ours, wrapped for pyarrow."""
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    fs, path = storage.filesystem(url)
    if storage.is_local(url):
        os.makedirs(path, exist_ok=True)
    return PyFileSystem(FSSpecHandler(fs)), path


def _worker(session: dict[str, Any]) -> dict[str, Any]:
    """What each Ray Train worker runs.

    What is refused is returned, not raised: what a worker raises is a failure to Ray, which would
    start it again.
    """
    import ray
    import ray.train.torch

    log_to_stderr()
    # Otherwise Ray logs every report() of every rank.
    for noisy in ("", "ray.train"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    config = TrainConfig(**session["config"])
    device = torch.device("cpu")
    if config.use_gpu:
        device = ray.train.torch.get_device()
    torch.set_num_threads(config.cpus_per_worker)
    if config.precision == "tf32":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    try:
        return _run_loop(config, session, device)
    except Exception as error:
        reason = " ".join(str(error).split())[:MAX_REASON_CHARS]
        ray.get(session["conductor"].fail.remote(f"{type(error).__name__}: {reason}"))
        raise


def _run_loop(config: TrainConfig, session: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Make this rank's trainer and run it; all ranks give up if one must."""
    import ray

    group = Group()
    refusal = ""
    newest = ""
    trainer = None
    try:
        if group.leads:
            refusal = ray.get(session["conductor"].begin.remote())
        if group.leads and not refusal:
            newest = newest_whole(session["run"])
    except StoreError:
        raise
    except InputError as error:
        refusal = str(error)
    refusal = group.first_text(refusal, device)
    if refusal:
        return {"refused": refusal}
    # Rank 0's word: a checkpoint that one rank finds damaged must be passed over by all.
    newest = group.first_text(newest, device)
    try:
        trainer = _trainer(config, session, device, newest)
    except StoreError:
        raise  # it may go away by itself: Ray starts the workers again
    except InputError as error:
        refusal = str(error)
    refusal = group.first_text(refusal, device)
    if refusal:
        return {"refused": refusal}
    assert trainer is not None
    watches_nodes = os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") != "0"
    reporter = RayReporter(trainer, session)
    try:
        result = loop.train(trainer, reporter, PREEMPTION_CHECK_S if watches_nodes else 0.0)
        reporter.finish(result)
    finally:
        reporter.close()
    return result.to_json()


def _trainer(
    config: TrainConfig, session: dict[str, Any], device: torch.device, newest: str
) -> Trainer:
    """A rank's trainer: where the checkpoint `newest` left off, or ("") at the run's start."""
    run = session["run"]
    trainer = Trainer(config, open_version(session["corpus"]), device)
    if newest:
        trainer.load(storage.join(run, newest))
    elif config.init_from:
        artifact = read_artifact(storage.join(run, runs.INIT))
        network, vocab, _ = load_network(artifact.files, config.init_from)
        own_vocab = trainer.corpus.vocab
        shared = warm_start(trainer.model, own_vocab, network, vocab, config.init_from)
        if trainer.group.leads:
            log.info(
                "starting from %s: %d of %d symbols known",
                config.init_from,
                shared,
                len(own_vocab),
            )
    return trainer


class RayReporter:
    """Rank 0 writes checkpoints and samples, shows progress, and asks whether to stop."""

    def __init__(self, trainer: Trainer, session: dict[str, Any]) -> None:
        self.trainer = trainer
        self.run = session["run"]
        self.conductor = session["conductor"]
        self.leads = trainer.group.leads
        self.writer = CheckpointWriter(self.run, trainer.config.keep_checkpoints)
        self.closed = threading.Event()
        self.stop = threading.Event()
        self.last_row: dict[str, Any] = {}
        if self.leads:
            introduce(trainer, session["name"])
            self.bar = progress_of(trainer, session["name"])
            # In a thread: to ask an actor takes milliseconds, and so may a whole step.
            poller = threading.Thread(target=self._poll, name="stop-poller", daemon=True)
            poller.start()

    def stop_asked(self) -> bool:
        return self.stop.is_set()

    def progress(self, done: int, total: int, row: dict[str, Any]) -> None:
        if self.leads:
            # The last evaluation's figures stay in sight between evaluations.
            kept = {key: value for key, value in self.last_row.items() if key.startswith("val_")}
            self.last_row = {**kept, **row}
            self.bar.add(1)

    def save(self, step: int, files: dict[str, bytes], journal: bytes) -> None:
        self.writer.submit(step, files, journal)

    def sample(self, trainer: Trainer) -> None:
        url = storage.join(self.run, runs.SAMPLES, f"step-{trainer.step:06d}.txt")
        storage.write_bytes(url, preview(trainer, trainer.config.sample_chars))

    def leaving(self) -> bool:
        import ray.train

        return ray.train.get_preemption_info() is not None

    def finish(self, result: RunResult) -> None:
        """Wait for the last checkpoint; then tell Ray which one is the run's result."""
        if self.leads:
            self.bar.finish("" if self.last_row else "nothing was left to do")
            self._tell()
            self.writer.wait()
            if self.writer.error:
                raise OSError(f"the last checkpoint was not written: {self.writer.error}")
        if not result.stopped:
            self._report_best(result)

    def close(self) -> None:
        self.closed.set()
        self.writer.wait()

    def _report_best(self, result: RunResult) -> None:
        """report() is a barrier: every rank must reach it, even with no checkpoint to name."""
        import ray.train

        best = runs.best(self.run) if self.leads else None
        metrics = {key: value for key, value in asdict(result.best).items() if value is not None}
        if best is None:
            ray.train.report(metrics)
            return
        store = ray.train.get_context().get_storage()
        path = storage.join(store.experiment_fs_path, best)
        ray.train.report(
            metrics,
            checkpoint=ray.train.Checkpoint(path, store.storage_filesystem),
            # It lies where it belongs already.
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
        )

    def _tell(self) -> bool:
        """Tell how far the run is, and hear whether it should stop. False when nobody answers."""
        import ray

        standing = standing_of(self.bar, self.last_row)
        try:
            reached = self.conductor.reach.remote(self.trainer.step, standing)
            if ray.get(reached, timeout=CONDUCTOR_TIMEOUT_S):
                self.stop.set()
        except Exception as error:  # the driver is gone; Ray will end this worker too
            log.warning("nobody to ask whether to stop: %s", type(error).__name__)
            return False
        return True

    def _poll(self) -> None:
        # The first at once: a run of a few seconds is shown too.
        while self._tell():
            if self.closed.wait(STOP_POLL_S):
                return
