"""One rank of a run: model, optimiser, its lanes' state, and the place in the corpus. Pure torch.

Shapes: T time (seq_len), B lanes of this rank, V vocab, H hidden, L layers, S tensors of state a
layer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch.nn import functional

from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.model.about import CorpusReference, ModelAbout
from pipeline.model.artifact import WEIGHTS, artifact_files, read_files
from pipeline.model.network import CharRNN, initialize, initialize_uniform
from pipeline.model.scoring import bits_per_byte, bits_per_char, lane_bounds, summed_nats
from pipeline.training import checkpoint
from pipeline.training.checkpoint import Best, CheckpointState
from pipeline.training.config import TrainConfig, stored_settings
from pipeline.training.dropout import dropout_mask
from pipeline.training.group import Group
from pipeline.training.healer import Healer
from pipeline.training.healing import Healing
from pipeline.training.journal import Journal
from pipeline.training.lanes import LanePlan, lane_range
from pipeline.training.optim import (
    FlatGradient,
    learning_rate,
    make_optimizer,
    parameter_names,
)
from pipeline.training.preflight import check_same_settings
from pipeline.training.resuming import read_journal


@dataclass(frozen=True, kw_only=True)
class Votes:
    """What a rank would like to happen after a step.

    Votes ride in the step's all-reduce, so that all ranks see the same, and agree at no cost.
    """

    stop: bool = False  # somebody asked: end here, to be resumed
    late: bool = False  # the run's time is over: end here, for good
    evaluate: bool = False
    save: bool = False
    look: bool = False  # ask the cluster whether a node is about to go away


NO_VOTES = Votes()


class Trainer:
    """Makes steps, evaluates, and says and takes up what a checkpoint holds."""

    def __init__(
        self,
        config: TrainConfig,
        corpus: Corpus,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self.corpus = corpus
        self.device = device
        self.group = Group()
        self.tokens = corpus.open_split("train")
        self.val = corpus.open_split("val")
        streams = corpus.manifest.streams
        self.plan = LanePlan.over(
            len(self.tokens),
            streams,
            config.global_batch_size,
            config.seq_len,
            config.batches_per_update,
        )
        self.lanes = lane_range(self.group.rank, self.group.world_size, config.global_batch_size)
        self.model = CharRNN(config.model(len(corpus.vocab))).to(dtype)
        draw = initialize_uniform if config.initialization == "uniform" else initialize
        draw(self.model, config.seed)
        self.model.to(device)
        self.optimizer = make_optimizer(self.model, config)
        self.names = parameter_names(self.model, self.optimizer)
        self.flat = FlatGradient(self.model, extras=1 + len(fields(Votes)))
        self.run_model: Any = torch.compile(self.model) if config.compile else self.model
        self.state = self.model.initial_state(len(self.lanes))
        self.journal = Journal()
        self.step = 0
        self.minutes = 0.0  # of training, over all sessions of the run
        self.evaluated = 0.0  # the minutes of training at the newest evaluation
        self.best = Best()
        self.stale = 0  # evaluations since the best
        self.last_val: dict[str, float] = {}
        self.healer = Healer(self)

    @property
    def healing(self) -> Healing:
        return self.healer.healing

    @property
    def epoch(self) -> int:
        return self.step // self.plan.steps_per_epoch

    @property
    def total_steps(self) -> int:
        return self.config.total_steps(self.plan.steps_per_epoch)

    def train_step(self, votes: Votes = NO_VOTES) -> tuple[dict[str, Any], Votes]:
        """Make one update; returns its journal row, and what any rank voted for.

        Where the loss or the gradient is not what it should be, all ranks make the same rollback
        instead (healer.py), or end the run: `healing.diverged`.
        """
        began = time.perf_counter()
        epoch = self.epoch
        position = self.step % self.plan.steps_per_epoch
        self.healer.begin(self.step)
        is_carried = self.config.carry_state and self.step > 0
        if position == 0 and not is_carried:  # every lane begins its stretch of the epoch
            self.state = self.model.initial_state(len(self.lanes))
        self.flat.zero()
        # Behind the gradient: summed loss, then one number a vote. A vote's sum says how many ranks
        # wish for it.
        self.flat.extras[0] = self._accumulate(epoch, position)
        for index, vote in enumerate(vars(votes).values()):
            self.flat.extras[1 + index] = float(vote)
        self.flat.reduce(self.group, self.plan.tokens_per_step)
        summed_loss, *counts = self.flat.extras.tolist()
        grad_norm = self.flat.clip(self.config.max_grad_norm, self.config.grad_value_limit)
        loss = summed_loss / self.plan.tokens_per_step
        # Before the update: what was computed with these weights says whether they are good.
        fault = self.healer.fault(loss, grad_norm)
        numbers = {"train_loss": loss, "grad_norm": grad_norm}
        row: dict[str, Any] = {"epoch": epoch, **numbers}
        if fault:
            self.step += 1
            row |= self.healer.roll_back(fault, self.step, epoch, position)
            row |= {key: None for key, value in numbers.items() if not math.isfinite(value)}
            # The lanes' text is interrupted here, and their state came from weights that are given
            # up.
            self.state = self.model.initial_state(len(self.lanes))
        else:
            row |= self._update(loss, grad_norm, epoch)
        self.minutes += (time.perf_counter() - began) / 60
        row |= {"step": self.step, "time": time.time()}
        names = [field.name for field in fields(Votes)]
        agreed = {name: count > 0 for name, count in zip(names, counts, strict=True)}
        return row, Votes(**agreed)

    def _update(self, loss: float, grad_norm: float, epoch: int) -> dict[str, Any]:
        """Move the weights by the gradient; returns what the step's row says of it."""
        self.healer.accept(self.step, loss, grad_norm)
        self.step += 1
        scheduled = learning_rate(self.config, self.step, epoch, self.total_steps)
        rate = scheduled * self.healing.rate_multiplier
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        self.optimizer.step()
        return {"learning_rate": rate}

    def evaluate(self) -> dict[str, float]:
        """val_loss (nats per token), val_bits_per_char, val_bits_per_byte of the whole val split.

        Collective: the ranks share the split's lanes, whose number does not depend on how many
        ranks there are.
        """
        bounds = lane_bounds(len(self.val), self.config.eval_lanes)
        own = lane_range(self.group.rank, self.group.world_size, len(bounds) - 1)
        total = self.group.sum(summed_nats(self.model, self.val, bounds, own))
        loss = float(total) / (len(self.val) - 1)
        metrics = {
            "val_loss": loss,
            "val_bits_per_char": bits_per_char(loss),
            "val_bits_per_byte": bits_per_byte(loss, len(self.val), self.corpus.bytes_in("val")),
        }
        self.last_val = metrics
        self.evaluated = self.minutes
        # A loss that is not finite is no best, and uses up patience like any other.
        self.stale += 1
        is_lowest = self.best.val_loss is None or loss < self.best.val_loss
        if math.isfinite(loss) and is_lowest:
            self.best = Best(self.step, loss)
            self.stale = 0
        return metrics

    def files(self, evaluated: bool) -> dict[str, bytes] | None:
        """A checkpoint's files, on rank 0. Collective: every rank gives its lanes."""
        lanes = self.group.gather_lanes(self.state, self.config.global_batch_size)
        if not self.group.leads:
            return None
        optimizer = checkpoint.optimizer_tensors(self.optimizer, self.names)
        return {
            **artifact_files(self.model, self.corpus.vocab, self._about(evaluated)),
            **checkpoint.training_files(optimizer, lanes, self._state(evaluated)),
            **self.healer.files(),
        }

    def load(self, url: str) -> None:
        """Take up a run's checkpoint: after this, the run goes on as if it had never stopped.

        Raises InputError for another corpus or other settings, DamagedError for a file without its
        digest.
        """
        state = CheckpointState.read(url)
        self._check_same_run(state, url)
        names = (WEIGHTS, checkpoint.OPTIMIZER, checkpoint.LANES)
        files = read_files(url, (*names, *self.healer.names_in(state.healing)))
        self.model.load_state_dict(checkpoint.load_tensors(files[WEIGHTS], url))
        optimizer = checkpoint.load_tensors(files[checkpoint.OPTIMIZER], url)
        checkpoint.load_optimizer(self.optimizer, self.names, optimizer)
        lanes = checkpoint.load_tensors(files[checkpoint.LANES], url)["state"]
        own = lanes[:, :, self.lanes.start : self.lanes.stop]
        self.state = own.contiguous().to(self.device)
        self.step = state.step
        self.minutes = state.minutes
        self.evaluated = state.evaluated
        self.best = state.best
        self.stale = state.stale
        self.healer.load(state.healing, files, url)
        # The other ranks append to a journal too, but nobody reads it.
        if self.group.leads:
            self.journal = read_journal(url.rstrip("/").rpartition("/")[0], state)

    def _accumulate(self, epoch: int, position: int) -> torch.Tensor:
        """The summed loss of this rank's lanes, its gradient added up; carries their state on."""
        losses = []
        states = []
        parts = min(self.config.accumulate, len(self.lanes))
        for part in range(parts):
            own = lane_range(part, parts, len(self.lanes))
            lanes = self.lanes[own.start : own.stop]
            batch = torch.from_numpy(self.plan.batch(self.tokens, lanes, epoch, position))
            if self.device.type == "cuda":
                batch = batch.pin_memory().to(self.device, non_blocking=True)
            state = self.state[:, :, own.start : own.stop]
            for number in range(self.plan.batches):
                first = number * self.plan.seq_len
                tokens = batch[first : first + self.plan.seq_len + 1]
                loss, state = self._forward(tokens, lanes, state, number)
                loss.backward()
                losses.append(loss.detach())
            states.append(state)
        # torch.cat copies even a single part.
        self.state = torch.cat(states, 2) if parts > 1 else states[0]
        return torch.stack(losses).sum()

    def _forward(
        self, batch: torch.Tensor, lanes: range, state: torch.Tensor, number: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Summed loss of a step's batch of a number (T + 1, B), and the next state of its lanes
        (L, S, B, H).
        """
        is_bf16 = self.config.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_bf16):
            logits, after = self.run_model(
                batch[:-1], state, self._masks(lanes, number)
            )  # (T, B, V)
        targets = batch[1:].flatten()
        logits = logits.flatten(0, 1).to(state.dtype)
        # Here backpropagation is truncated: the next batch's gradient does not reach into this one.
        after = after.detach().to(state.dtype)
        return functional.cross_entropy(logits, targets, reduction="sum"), after

    def _masks(
        self, lanes: range, number: int = 0
    ) -> Callable[[int, torch.Tensor], torch.Tensor] | None:
        """Dropout masks of a batch of the coming step, by layer; None where nothing is dropped."""
        config = self.config
        step = self.step * config.batches_per_update + number
        if not config.dropout:
            return None

        def masks(layer: int, outputs: torch.Tensor) -> torch.Tensor:
            return dropout_mask(outputs, lanes, config.dropout, config.seed, step, layer)

        return masks

    def _state(self, evaluated: bool) -> CheckpointState:
        return CheckpointState(
            step=self.step,
            epoch=self.epoch,
            minutes=self.minutes,
            val_loss=self._figures(evaluated).get("val_loss"),
            best=self.best,
            stale=self.stale,
            journal=self.journal.state,
            corpus=self._corpus(),
            config=stored_settings(self.config),
            world_size=self.group.world_size,
            healing=self.healing,
            evaluated=self.evaluated,
        )

    def _about(self, evaluated: bool) -> ModelAbout:
        """What the model says of its origin, in its config.json."""
        return ModelAbout(
            model=self.model.config,
            corpus=self._corpus(),
            first_tokens=self.corpus.manifest.first_tokens,
            train=stored_settings(self.config),
            step=self.step,
            metrics=self._figures(evaluated),
        )

    def _figures(self, evaluated: bool) -> dict[str, float]:
        """The figures of a checkpoint whose step was evaluated, if they are numbers."""
        is_finite = all(math.isfinite(value) for value in self.last_val.values())
        return self.last_val if evaluated and is_finite else {}

    def _corpus(self) -> CorpusReference:
        return CorpusReference(self.corpus.name, self.corpus.version, self.corpus.fingerprint)

    def _check_same_run(self, state: CheckpointState, url: str) -> None:
        if state.corpus.fingerprint != self.corpus.fingerprint:
            raise InputError(
                f"{url} was trained on corpus {state.corpus}, this is "
                f"{self._corpus()}; resume with that version, or start a new run."
            )
        check_same_settings(state.config, self.config)
