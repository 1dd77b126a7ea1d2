"""The training loop: step, log, evaluate, save, sample. Pure torch; a Reporter says where results and checkpoints go."""

from __future__ import annotations

import time
from typing import Any, Protocol

from pipeline.training.config import TrainConfig
from pipeline.training.rank import Trainer, Votes


class Reporter(Protocol):
    """Where a run's progress goes, and who may ask it to stop."""

    def progress(self, done: int, total: int, row: dict[str, Any]) -> None: ...

    def save(self, step: int, files: dict[str, bytes], journal: bytes) -> None:
        """Keep a checkpoint. Called on rank 0 alone; may return before it is written."""

    def sample(self, trainer: Trainer) -> None:
        """Write a sample of the model as it stands. Called on rank 0 alone."""

    def stop_asked(self) -> bool: ...

    def leaving(self) -> bool:
        """Whether a node of the run is about to go away. Called by all ranks at the same steps."""


class Clock:
    """Rank 0's votes that depend on time: what is due every so many minutes, and the end of the run's time."""

    def __init__(self, config: TrainConfig, look_every_s: float = 0.0) -> None:
        self.config, self.look_every_s = config, look_every_s
        now = time.monotonic()
        self.last = {"eval_every": now, "checkpoint_every": now, "look": now}

    def votes(self, minutes: float, stop: bool) -> Votes:
        config = self.config
        return Votes(
            stop=stop,
            late=bool(config.max_minutes) and minutes >= config.max_minutes,
            evaluate=self._due("eval_every", config.interval("eval_every")[1] * 60),
            save=self._due("checkpoint_every", config.interval("checkpoint_every")[1] * 60),
            look=self._due("look", self.look_every_s),
        )

    def _due(self, what: str, every_s: float) -> bool:
        return every_s > 0 and time.monotonic() - self.last[what] >= every_s

    def done(self, *whats: str) -> None:
        for what in whats:
            self.last[what] = time.monotonic()


def train(trainer: Trainer, reporter: Reporter, look_every_s: float = 0.0) -> dict[str, Any]:
    """Run to the end of the configured steps, epochs, minutes or patience, or until a rank is asked to stop.

    Returns what it came to; `stopped` says that it was asked to stop, and can go on from its last checkpoint.
    """
    config, total = trainer.config, trainer.total_steps
    clock = Clock(config, look_every_s)
    stopped = False
    while not (stopped or _over(trainer, total)):
        leads = trainer.group.leads
        row, seen = trainer.train_step(clock.votes(trainer.minutes, reporter.stop_asked()) if leads else Votes())
        stopped = seen.stop and not _over(trainer, total)
        # A stop evaluates nothing that going on would not: rows, best and patience are those of a run never stopped.
        end = seen.late or _over(trainer, total)
        metrics = trainer.evaluate() if end or seen.evaluate or _due(trainer, "eval_every") else {}
        last = stopped or end or _over(trainer, total)
        trainer.journal.append({**row, **metrics})
        reporter.progress(trainer.step, total, {**row, **metrics})
        improved = bool(metrics) and trainer.best["step"] == trainer.step
        leaving = seen.look and reporter.leaving()
        if last or improved or leaving or seen.save or _due(trainer, "checkpoint_every"):
            files = trainer.files(evaluated=bool(metrics))
            if files is not None:
                reporter.save(trainer.step, files, trainer.journal.data)
            clock.done("checkpoint_every")
        clock.done(*(["eval_every"] if metrics else []), *(["look"] if seen.look else []))
        if leads and config.samples_at(trainer.step):
            reporter.sample(trainer)
        if last:
            break
    return {
        "step": trainer.step,
        "epoch": trainer.step / trainer.plan.steps_per_epoch,
        "minutes": trainer.minutes,
        "best": trainer.best,
        "parameters": trainer.model.num_parameters(),
        "stopped": stopped,
    }


def _due(trainer: Trainer, option: str) -> bool:
    steps, _ = trainer.config.interval(option)
    return bool(steps) and trainer.step % steps == 0


def _over(trainer: Trainer, total: int) -> bool:
    patience = trainer.config.patience
    return bool(total and trainer.step >= total) or bool(patience and trainer.stale >= patience)
