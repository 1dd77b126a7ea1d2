"""The Ray Train adapter: one training loop on each worker, checkpoints through Ray's report."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from pipeline import storage
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import InputError
from pipeline.progress import Progress, log_to_stderr
from pipeline.training import checkpoint, loop
from pipeline.training.config import TrainConfig
from pipeline.training.scoring import bits_per_char

log = logging.getLogger("unreasonable")


def run_training(config: TrainConfig, root: str, run_id: str, name: str) -> dict[str, Any]:
    """Train on Ray workers until the run ends; returns what it came to (see loop.train). Ray must be initialised.

    Checkpoints and metrics.jsonl go to <root>/runs/<run_id>/. A run that is there already goes on from its newest
    complete checkpoint.
    """
    import ray.train
    from ray.train.torch import TorchTrainer

    check_resources(config)
    filesystem, runs = _arrow_filesystem(storage.join(root, "runs"))
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"config": asdict(config), "root": root, "run_id": run_id, "name": name},
        scaling_config=ray.train.ScalingConfig(num_workers=config.num_workers, use_gpu=config.use_gpu),
        run_config=ray.train.RunConfig(
            name=run_id,
            storage_path=runs,
            storage_filesystem=filesystem,
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=config.keep_checkpoints, checkpoint_score_attribute="val_loss", checkpoint_score_order="min"
            ),
            failure_config=ray.train.FailureConfig(max_failures=0),
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _input_error(error) or error from None
    return dict(result.return_value or {})


def check_resources(config: TrainConfig) -> None:
    """Raise InputError when the cluster cannot ever meet the request, instead of waiting for it."""
    import ray

    kind = "GPU" if config.use_gpu else "CPU"
    there = int(ray.cluster_resources().get(kind, 0))
    if config.num_workers > there:
        raise InputError(
            f"{config.num_workers} workers need {config.num_workers} {kind}s, the cluster has {there}; lower --num_workers."
        )


def _arrow_filesystem(url: str) -> tuple[Any, str]:
    """The filesystem and path that Ray Train stores under: ours, wrapped for pyarrow."""
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    fs, path = storage.filesystem(url)
    if storage.is_local(url):
        os.makedirs(path, exist_ok=True)
    return PyFileSystem(FSSpecHandler(fs)), path


def _input_error(error: BaseException) -> InputError | None:
    """The InputError behind a worker's failure, if that is what it was."""
    causes = list(getattr(error, "worker_failures", {}).values()) or [error]
    for cause in causes:
        seen: BaseException | None = cause
        while seen is not None:
            if isinstance(seen, InputError):
                return InputError(str(getattr(seen, "cause", None) or seen))
            seen = getattr(seen, "cause", None) or seen.__cause__
    return None


def _worker(loop_config: dict[str, Any]) -> dict[str, Any]:
    """What each Ray Train worker runs."""
    import ray.train.torch

    log_to_stderr()
    logging.getLogger("ray.train").setLevel(logging.WARNING)  # every report() of every rank otherwise
    config, root = TrainConfig(**loop_config["config"]), loop_config["root"]
    run_url = storage.join(root, "runs", loop_config["run_id"])
    device = ray.train.torch.get_device() if config.use_gpu else torch.device("cpu")
    trainer = loop.Trainer(config, open_corpus(root, config.corpus), device)
    newest = checkpoint.complete(run_url)
    if newest:
        trainer.load(storage.join(run_url, newest[-1]))
    reporter = RayReporter(run_url, trainer, loop_config["name"])
    return loop.train(trainer, reporter)


class RayReporter:
    """Reports to Ray Train: every rank at the same steps, since report() is a barrier; rank 0 brings the checkpoint."""

    def __init__(self, run_url: str, trainer: loop.Trainer, name: str) -> None:
        self.run_url, self.leads = run_url, trainer.group.leads
        if self.leads:
            self.bar = _progress(trainer, name)

    def progress(self, done: int, total: int, row: dict[str, Any]) -> None:
        if not self.leads:
            return
        note = f"epoch {row['epoch']}, loss {row['train_loss']:.3f}, {bits_per_char(row['train_loss']):.3f} bits/char"
        if "val_loss" in row:
            note += f", val {row['val_bits_per_char']:.3f} bits/char"
        self.bar.add(1, f"{note}, {row['chars_per_sec']:,.0f} chars/s")

    def report(self, step: int, metrics: dict[str, float], files: dict[str, bytes] | None) -> None:
        import ray.train

        if files is None:
            ray.train.report(metrics)
            return
        storage.write_bytes(storage.join(self.run_url, checkpoint.METRICS), files[checkpoint.METRICS])
        with tempfile.TemporaryDirectory() as nothing:  # report() wants a folder; the files come from memory
            ray.train.report(
                metrics,
                checkpoint=ray.train.Checkpoint.from_directory(nothing),
                checkpoint_dir_name=checkpoint.name(step),
                checkpoint_upload_fn=self._upload(files),
            )

    def _upload(self, files: dict[str, bytes]) -> Callable[[Any, str], Any]:
        """Writes a checkpoint with its digests last: Ray's own upload copies a folder's files in any order."""

        def upload(_: Any, name: str) -> Any:
            import ray.train

            checkpoint.write(storage.join(self.run_url, name), files)
            store = ray.train.get_context().get_storage()
            path = storage.join(store.experiment_fs_path, name)
            return ray.train.Checkpoint(path, store.storage_filesystem)

        return upload


def _progress(trainer: loop.Trainer, name: str) -> Progress:
    log.info(
        "train %s: %s parameters, %s train tokens, %s steps an epoch, %d workers",
        name, f"{trainer.model.num_parameters():,}", f"{len(trainer.tokens):,}", f"{trainer.plan.steps_per_epoch:,}",
        trainer.group.world_size,
    )  # fmt: skip
    return Progress(f"train {name}", trainer.total_steps, "steps", every_s=5.0, start=trainer.step)
