"""What one rank does about divergence: keeps a snapshot, goes back to it, says what was being read.

Shapes: T time (seq_len), B lanes of the global batch.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any, Protocol

import torch
from torch.nn import functional

from pipeline.corpora.manifest import Corpus
from pipeline.corpora.shards import TokenSource
from pipeline.corpora.trace import Tracer
from pipeline.model.network import CharRNN
from pipeline.training.config import TrainConfig
from pipeline.training.group import Group
from pipeline.training.healing import Healing
from pipeline.training.lanes import LanePlan
from pipeline.training.reading import Reading, readings
from pipeline.training.snapshot import SNAPSHOT, Snapshot

log = logging.getLogger("unreasonable")


class Rank(Protocol):
    """What this file needs of a trainer, which imports it."""

    config: TrainConfig
    corpus: Corpus
    device: torch.device
    group: Group
    lanes: range
    model: CharRNN
    names: list[str]
    optimizer: torch.optim.Optimizer
    plan: LanePlan

    @property
    def tokens(self) -> TokenSource: ...


class Healer:
    """Watches a trainer's numbers; its state is `healing` and `snapshot`.

    The snapshot is taken before an update, once the loss of its weights is known to be good.
    """

    def __init__(self, trainer: Rank) -> None:
        self.trainer = trainer
        self.healing = Healing()
        self.snapshot: Snapshot | None = None
        # The loss of a model that finds all symbols alike.
        self.guessing = math.log(len(trainer.corpus.vocab))
        self._tracer: Tracer | None = None

    def begin(self, step: int) -> None:
        """Before a step: there is always a snapshot to go back to, if only of the start."""
        if self.snapshot is None:
            self._take(step)

    def fault(self, loss: float, grad_norm: float) -> str:
        """What is wrong with the numbers of a step; "" where nothing is."""
        watches = self.trainer.config.max_rollbacks > 0
        return self.healing.fault(loss, grad_norm, self.guessing, watches=watches)

    def accept(self, step: int, loss: float, grad_norm: float) -> None:
        """Before the update that follows step `step`, whose numbers are good."""
        is_due = step % self.trainer.config.snapshot_every == 0
        if is_due and self.healing.snapshot_step != step:
            self._take(step)
        self.healing = self.healing.accepted(loss, grad_norm)

    def roll_back(self, fault: str, step: int, epoch: int, position: int) -> dict[str, Any]:
        """Instead of the update that makes step `step`: go back to the snapshot's weights, lower
        the learning rate, and pass over the text.

        Steps and text go on: each step has one row, and what was read is not read again, since it
        may be what is wrong. Returns what the step's row says of it. Collective.
        """
        trainer = self.trainer
        assert self.snapshot is not None
        self.snapshot.restore(trainer.model, trainer.optimizer, trainer.names)
        lane_nats = self._lane_nats(epoch, position)
        mean = sum(lane_nats) / trainer.plan.tokens_per_step
        restored = self.healing.restored()
        # False for a mean that is no number: then it is the snapshot that is no good.
        text_is_hard = restored.loss_limit(self.guessing) < mean < math.inf
        self.healing = restored.rolled_back(text_is_hard=text_is_hard)
        read = self._readings(epoch, position, lane_nats)
        limit = trainer.config.max_rollbacks
        if self.healing.rollbacks > limit:
            after = f" after {limit} rollbacks" if limit else ""
            diverged = f"training diverged at step {step}{after}: {fault}"
            self.healing = dataclasses.replace(self.healing, diverged=diverged)
        elif trainer.group.leads:
            self._tell(fault, step, read)
        return {
            "fault": fault,
            "rolled_back_to": self.healing.snapshot_step,
            "rollbacks": self.healing.rollbacks,
            "rate_multiplier": self.healing.rate_multiplier,
            "read": [reading.to_json() for reading in read],
        }

    def files(self) -> dict[str, bytes]:
        """What a checkpoint holds beside state.json's `healing`."""
        return {SNAPSHOT: self.snapshot.to_bytes()} if self.snapshot else {}

    @staticmethod
    def names_in(healing: Healing) -> tuple[str, ...]:
        """The names of such files in a checkpoint of this health."""
        return () if healing.snapshot_step is None else (SNAPSHOT,)

    def load(self, healing: Healing, files: dict[str, bytes], source: str) -> None:
        """Take up what a checkpoint at `source` holds."""
        self.healing = healing
        self.snapshot = None
        for name in self.names_in(healing):
            self.snapshot = Snapshot.from_bytes(files[name], source, self.trainer.device)

    def _take(self, step: int) -> None:
        trainer = self.trainer
        self.snapshot = Snapshot.of(trainer.model, trainer.optimizer, trainer.names)
        self.healing = self.healing.taken(step)

    def _tell(self, fault: str, step: int, read: list[Reading]) -> None:
        healing = self.healing
        log.warning(
            "step %d: %s. Back to the weights of step %d, learning rate times %g "
            "(rollback %d of %d)%s",
            step,
            fault,
            healing.snapshot_step,
            healing.rate_multiplier,
            healing.rollbacks,
            self.trainer.config.max_rollbacks,
            f"; hardest in what was read: {read[0]}" if read else "",
        )

    def _lane_nats(self, epoch: int, position: int) -> list[float]:
        """Every lane's summed nats at a step, from a state of zeros. Collective."""
        trainer = self.trainer
        lanes = trainer.config.global_batch_size
        nats = torch.zeros(lanes, dtype=torch.float64, device=trainer.device)
        with torch.no_grad():
            # One by one: all at once may be more than a worker's memory has room for.
            for lane in trainer.lanes:
                own = range(lane, lane + 1)
                tokens = trainer.plan.batch(trainer.tokens, own, epoch, position)
                batch = torch.from_numpy(tokens).to(trainer.device)  # (T + 1, 1)
                logits, _ = trainer.model(batch[:-1], trainer.model.initial_state(1))
                nats[lane] = functional.cross_entropy(
                    logits.flatten(0, 1).double(), batch[1:].flatten(), reduction="sum"
                )
        summed: list[float] = trainer.group.sum(nats).tolist()
        return summed

    def _readings(self, epoch: int, position: int, lane_nats: list[float]) -> list[Reading]:
        """What was being read, on rank 0, which alone tells of it."""
        trainer = self.trainer
        if not trainer.group.leads:
            return []
        try:
            self._tracer = self._tracer or Tracer(trainer.corpus)
            return readings(self._tracer, trainer.plan, epoch, position, lane_nats)
        except (ValueError, LookupError, OSError) as error:
            # The table of documents is damaged or gone, or its store is away: a run goes on.
            log.warning("cannot say which documents were being read: %s", error)
            return []
