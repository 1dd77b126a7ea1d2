"""One rank of a run: model, optimiser, its lanes' state, and the place in the corpus. Pure torch."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch.nn import functional

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.errors import DivergedError, InputError
from pipeline.training import checkpoint
from pipeline.training.artifact import WEIGHTS
from pipeline.training.config import TrainConfig
from pipeline.training.dropout import dropout_mask
from pipeline.training.group import Group
from pipeline.training.journal import Journal
from pipeline.training.lanes import LanePlan, lane_range
from pipeline.training.model import CharRNN, initialize
from pipeline.training.optim import FlatGradient, learning_rate, make_optimizer
from pipeline.training.preflight import check_same_settings
from pipeline.training.scoring import bits_per_byte, bits_per_char, split_loss


@dataclass(frozen=True, kw_only=True)
class Votes:
    """What a rank would like to happen after a step. They ride in the step's all-reduce, so all ranks see the same."""

    stop: bool = False  # somebody asked: end here, to be resumed
    late: bool = False  # the run's time is over: end here, for good
    evaluate: bool = False
    save: bool = False
    look: bool = False  # ask the cluster whether a node is about to go away


class Trainer:
    """Makes steps, evaluates, and says and takes up what a checkpoint holds."""

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
        self.flat = FlatGradient(self.model, extras=1 + len(fields(Votes)))
        self.run_model: Any = torch.compile(self.model) if config.compile else self.model
        self.state = self.model.initial_state(len(self.lanes))
        self.journal = Journal()
        self.step = 0
        self.minutes = 0.0  # of training, over all sessions of the run
        self.best: dict[str, Any] = {"step": None, "val_loss": None}
        self.stale = 0  # evaluations since the best
        self.last_val: dict[str, float] = {}

    @property
    def epoch(self) -> int:
        return self.step // self.plan.steps_per_epoch

    @property
    def total_steps(self) -> int:
        return self.config.total_steps(self.plan.steps_per_epoch)

    def train_step(self, votes: Votes = Votes()) -> tuple[dict[str, Any], Votes]:  # frozen
        """Make one update; returns its journal row, and what any rank voted for. Raises DivergedError on all ranks."""
        began = time.perf_counter()
        position, epoch = self.step % self.plan.steps_per_epoch, self.epoch
        if position == 0:
            self.state = self.model.initial_state(len(self.lanes))
        self.flat.zero()
        self.flat.extras[0] = self._accumulated(epoch, position)
        for index, vote in enumerate(vars(votes).values()):
            self.flat.extras[1 + index] = float(vote)
        self.flat.reduce(self.group, self.plan.tokens_per_step)
        summed_loss, *seen = self.flat.extras.tolist()
        grad_norm = self.flat.clip(self.config.max_grad_norm, self.config.max_grad_value)
        self._check_finite(summed_loss, grad_norm)
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
            "train_loss": summed_loss / self.plan.tokens_per_step,
            "learning_rate": rate,
            "grad_norm": grad_norm,
            "chars_per_sec": self.plan.tokens_per_step / seconds,
            "time": time.time(),
        }
        return row, Votes(**{field.name: count > 0 for field, count in zip(fields(Votes), seen, strict=True)})

    def _check_finite(self, loss: float, grad_norm: float) -> None:
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise DivergedError(
                f"training diverged at step {self.step + 1}: loss {loss / self.plan.tokens_per_step:.3g}, gradient norm "
                f"{grad_norm:.3g}. Lower --learning_rate or --max_grad_norm, and start a new run."
            )

    def _accumulated(self, epoch: int, position: int) -> torch.Tensor:
        """The summed loss of this rank's lanes, its gradient added up; carries their state on."""
        losses, states = [], []
        parts = min(self.config.accumulate, len(self.lanes))
        for part in range(parts):
            own = lane_range(part, parts, len(self.lanes))
            lanes = self.lanes[own.start : own.stop]
            batch = torch.from_numpy(self.plan.batch(self.tokens, lanes, epoch, position))
            if self.device.type == "cuda":
                batch = batch.pin_memory().to(self.device, non_blocking=True)
            loss, state = self._forward(batch, lanes, self.state[:, :, own.start : own.stop])
            loss.backward()
            losses.append(loss.detach())
            states.append(state)
        self.state = torch.cat(states, 2) if parts > 1 else states[0]
        return torch.stack(losses).sum()

    def _forward(self, batch: torch.Tensor, lanes: range, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Summed loss of a batch (T + 1, B) and the next state of its lanes."""
        config, step = self.config, self.step
        masks = None
        if config.dropout:

            def masks(layer: int, outputs: torch.Tensor) -> torch.Tensor:
                return dropout_mask(outputs, lanes, config.dropout, config.seed, step, layer)

        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            logits, after = self.run_model(batch[:-1], state, masks)
        after = after.detach().to(state.dtype)
        targets = batch[1:].flatten()
        return functional.cross_entropy(logits.flatten(0, 1).to(state.dtype), targets, reduction="sum"), after

    def evaluate(self) -> dict[str, float]:
        """val_loss (nats per token), val_bits_per_char and val_bits_per_byte over the whole validation split."""
        loss = split_loss(self.model, self.val, self.config.eval_lanes, self.group)
        metrics = {
            "val_loss": loss,
            "val_bits_per_char": bits_per_char(loss),
            "val_bits_per_byte": bits_per_byte(loss, len(self.val), self.corpus.bytes_in("val")),
        }
        self.stale += 1
        if math.isfinite(loss) and (self.best["val_loss"] is None or loss < self.best["val_loss"]):
            self.best, self.stale = {"step": self.step, "val_loss": loss}, 0
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
            "stale": self.stale,
            "journal": self.journal.state_dict(),
            "corpus": self._corpus(),
            "config": asdict(self.config),
            "world_size": self.group.world_size,
        }
        optimizer = checkpoint.optimizer_tensors(self.optimizer, self.names)
        return {
            **checkpoint.artifact_files(self.model, self.corpus.vocab, self._about(evaluated)),
            **checkpoint.training_files(optimizer, lanes, state),
        }

    def _corpus(self) -> dict[str, str]:
        return {"name": self.corpus.name, "version": self.corpus.version, "fingerprint": self.corpus.fingerprint}

    def _about(self, evaluated: bool) -> dict[str, Any]:
        """What a model says of its origin, in its config.json."""
        return {
            "corpus": self._corpus(),
            "first_tokens": self.corpus.manifest["first_tokens"],
            "train": asdict(self.config),
            "step": self.step,
            "metrics": self.last_val if evaluated else {},
        }

    def load(self, url: str) -> None:
        """Take up a run's checkpoint: after this, the run goes on as if it had never stopped.

        Raises InputError for another corpus or other settings, DamagedError for a file without its digest.
        """
        state = checkpoint.read_state(url)
        self._check_same_run(state, url)
        files = checkpoint.read(url, (WEIGHTS, checkpoint.OPTIMIZER, checkpoint.LANES))
        self.model.load_state_dict(checkpoint.tensors(files[WEIGHTS], url))
        checkpoint.load_optimizer(self.optimizer, self.names, checkpoint.tensors(files[checkpoint.OPTIMIZER], url))
        lanes = checkpoint.tensors(files[checkpoint.LANES], url)["state"]
        self.state = lanes[:, :, self.lanes.start : self.lanes.stop].contiguous().to(self.device)
        self.step, self.minutes, self.best, self.stale = (state[key] for key in ("step", "minutes", "best", "stale"))
        if self.group.leads:
            journal = storage.join(url.rstrip("/").rpartition("/")[0], checkpoint.METRICS)
            self.journal = Journal.at(state["journal"], storage.read_bytes(journal), journal)

    def _check_same_run(self, state: dict[str, Any], url: str) -> None:
        if state["corpus"]["fingerprint"] != self.corpus.fingerprint:
            raise InputError(
                f"{url} was trained on corpus {state['corpus']['name']}@{state['corpus']['version']}, this is "
                f"{self.corpus.name}@{self.corpus.version}; resume with that version, or start a new run."
            )
        check_same_settings(state["config"], self.config)
