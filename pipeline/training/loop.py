"""The training loop: load, step, log, evaluate, save. Pure torch; a Reporter says where results and checkpoints go."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

import torch
from torch.nn import functional

from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.training import checkpoint
from pipeline.training.artifact import WEIGHTS
from pipeline.training.config import ENDS, MAY_CHANGE, TrainConfig
from pipeline.training.dropout import dropout_mask
from pipeline.training.group import Group
from pipeline.training.journal import Journal
from pipeline.training.lanes import LanePlan, lane_range
from pipeline.training.model import CharRNN, initialize
from pipeline.training.optim import FlatGradient, learning_rate, make_optimizer
from pipeline.training.scoring import bits_per_byte, bits_per_char, split_loss


class Reporter(Protocol):
    """Where a run's progress goes. `report` is called by every rank at the same steps; rank 0 has the files."""

    def report(self, step: int, metrics: dict[str, float], files: dict[str, bytes] | None) -> None: ...

    def progress(self, done: int, total: int, row: dict[str, Any]) -> None: ...


class Trainer:
    """One rank of a run: model, optimiser, its lanes' state, and the place in the corpus."""

    def __init__(self, config: TrainConfig, corpus: Corpus, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.config, self.corpus, self.device, self.group = config, corpus, device, Group()
        self.tokens, self.val = corpus.open_split("train"), corpus.open_split("val")
        self.plan = LanePlan(len(self.tokens), config.global_batch_size, config.seq_len)
        self.lanes = lane_range(self.group.rank, self.group.world_size, config.global_batch_size)
        self.model = CharRNN(config.model(len(corpus.vocab))).to(dtype)
        initialize(self.model, config.seed)
        self.model.to(device)
        self.names = [name for name, _ in self.model.named_parameters()]
        self.optimizer = make_optimizer(self.model, config)
        self.flat = FlatGradient(self.model, extras=2)
        self.state = self.model.initial_state(len(self.lanes))
        self.journal = Journal()
        self.step = 0
        self.minutes = 0.0  # of training, over all sessions of the run
        self.best: dict[str, Any] = {"step": None, "val_loss": None}
        self.last_val: dict[str, float] = {}

    @property
    def epoch(self) -> int:
        return self.step // self.plan.steps_per_epoch

    @property
    def total_steps(self) -> int:
        return self.config.total_steps(self.plan.steps_per_epoch)

    def train_step(self, stop: bool = False) -> tuple[dict[str, Any], bool]:
        """Make one update; returns its journal row, and whether any rank asked to stop (seen by all at the same step)."""
        began = time.perf_counter()
        position, epoch = self.step % self.plan.steps_per_epoch, self.epoch
        if position == 0:
            self.state = self.model.initial_state(len(self.lanes))
        batch = torch.from_numpy(self.plan.batch(self.tokens, self.lanes, epoch, position)).to(self.device)  # (T + 1, B)
        self.flat.zero()
        loss = self._forward(batch[:-1], batch[1:])
        loss.backward()
        self.flat.extras[0] = loss.detach()
        self.flat.extras[1] = float(stop)
        self.flat.reduce(self.group, self.plan.tokens_per_step)
        mean_loss, stops = self.flat.extras.tolist()
        grad_norm = self.flat.clip(self.config.max_grad_norm)
        self.step += 1
        rate = learning_rate(self.config, self.step, epoch, self.total_steps)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        self.optimizer.step()
        seconds = time.perf_counter() - began
        self.minutes += seconds / 60
        row = {
            "step": self.step,
            "epoch": epoch,
            "train_loss": mean_loss / self.plan.tokens_per_step,
            "learning_rate": rate,
            "grad_norm": grad_norm,
            "chars_per_sec": self.plan.tokens_per_step / seconds,
            "time": time.time(),
        }
        return row, stops > 0

    def _forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The summed loss of this rank's lanes; carries their state on."""
        config, step = self.config, self.step
        masks = None
        if config.dropout:

            def masks(layer: int, outputs: torch.Tensor) -> torch.Tensor:
                return dropout_mask(outputs, self.lanes, config.dropout, config.seed, step, layer)

        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            logits, state = self.model(inputs, self.state, masks)
        self.state = state.detach().to(self.state.dtype)
        return functional.cross_entropy(logits.flatten(0, 1).to(self.state.dtype), targets.flatten(), reduction="sum")

    def evaluate(self) -> dict[str, float]:
        """val_loss (nats per token), val_bits_per_char and val_bits_per_byte over the whole validation split."""
        loss = split_loss(self.model, self.val, self.config.eval_lanes, self.group)
        metrics = {
            "val_loss": loss,
            "val_bits_per_char": bits_per_char(loss),
            "val_bits_per_byte": bits_per_byte(loss, len(self.val), self.corpus.bytes_in("val")),
        }
        if self.best["val_loss"] is None or loss < self.best["val_loss"]:
            self.best = {"step": self.step, "val_loss": loss}
        self.last_val = metrics
        return metrics

    def files(self, evaluated: bool) -> dict[str, bytes] | None:
        """A checkpoint's files, on rank 0. Collective: every rank gives its lanes."""
        lanes = self.group.gather_lanes(self.state, self.config.global_batch_size)
        if not self.group.leads:
            return None
        state = {
            "step": self.step,
            "epoch": self.epoch,
            "minutes": self.minutes,
            "val_loss": self.last_val["val_loss"] if evaluated else None,
            "best": self.best,
            "corpus": {"name": self.corpus.name, "version": self.corpus.version, "fingerprint": self.corpus.fingerprint},
            "config": asdict(self.config),
            "world_size": self.group.world_size,
        }
        optimizer = checkpoint.optimizer_tensors(self.optimizer, self.names)
        return {
            **checkpoint.artifact_files(self.model, self.corpus.vocab, self.about(evaluated)),
            **checkpoint.training_files(optimizer, lanes, state, self.journal.state_dict()),
        }

    def about(self, evaluated: bool) -> dict[str, Any]:
        """What a model says of its origin, in its config.json."""
        return {
            "corpus": {"name": self.corpus.name, "version": self.corpus.version, "fingerprint": self.corpus.fingerprint},
            "first_tokens": self.corpus.manifest["first_tokens"],
            "train": asdict(self.config),
            "step": self.step,
            "metrics": self.last_val if evaluated else {},
        }

    def load(self, url: str) -> None:
        """Take up a checkpoint: after this, the run goes on as if it had never stopped.

        Raises InputError for another corpus or other settings, DamagedError for a file without its digest.
        """
        state = checkpoint.read_state(url)
        self._check_same_run(state, url)
        files = checkpoint.read(url, (WEIGHTS, checkpoint.OPTIMIZER, checkpoint.LANES, checkpoint.METRICS))
        self.model.load_state_dict(checkpoint.tensors(files[WEIGHTS], url))
        checkpoint.load_optimizer(self.optimizer, self.names, checkpoint.tensors(files[checkpoint.OPTIMIZER], url))
        lanes = checkpoint.tensors(files[checkpoint.LANES], url)["state"]
        self.state = lanes[:, :, self.lanes.start : self.lanes.stop].contiguous().to(self.device)
        self.step, self.minutes, self.best = state["step"], state["minutes"], state["best"]
        self.journal = Journal(files[checkpoint.METRICS])

    def _check_same_run(self, state: dict[str, Any], url: str) -> None:
        if state["corpus"]["fingerprint"] != self.corpus.fingerprint:
            raise InputError(
                f"{url} was trained on corpus {state['corpus']['name']}@{state['corpus']['version']}, this is "
                f"{self.corpus.name}@{self.corpus.version}; resume with that version, or start a new run."
            )
        now = asdict(self.config)
        free = MAY_CHANGE | (ENDS if self.config.schedule != "cosine" else {"max_minutes"})
        changed = [key for key, value in state["config"].items() if key not in free and now.get(key) != value]
        if changed:
            was = ", ".join(f"--{key} {state['config'][key]}" for key in changed)
            raise InputError(f"a resumed run keeps its settings; this one had {was}. Give these, or start a new run.")


def train(trainer: Trainer, reporter: Reporter, stop: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """Run to the end of the configured steps, epochs or minutes, or until some rank's `stop()`; returns what it came to."""
    config, total = trainer.config, trainer.total_steps
    stopped = False
    while not stopped and not _over(trainer, total):
        late = bool(config.max_minutes) and trainer.group.leads and trainer.minutes >= config.max_minutes
        row, stopped = trainer.train_step(stop=late or stop())
        last = stopped or _over(trainer, total)
        evaluate = last or trainer.step % config.eval_every == 0
        save = evaluate or (bool(config.checkpoint_every) and trainer.step % config.checkpoint_every == 0)
        metrics = trainer.evaluate() if evaluate else {}
        trainer.journal.append({**row, **metrics})
        reporter.progress(trainer.step, total, {**row, **metrics})
        if save:
            reporter.report(trainer.step, metrics, trainer.files(evaluated=evaluate))
    return {
        "step": trainer.step,
        "epoch": trainer.step / trainer.plan.steps_per_epoch,
        "minutes": trainer.minutes,
        "best": trainer.best,
        "parameters": trainer.model.num_parameters(),
    }


def _over(trainer: Trainer, total: int) -> bool:
    return bool(total) and trainer.step >= total
