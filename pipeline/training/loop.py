"""The training loop: step, log, evaluate, save, sample.

Pure torch; a Reporter says where results and checkpoints go.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pipeline.progress import Rate
from pipeline.training.checkpoint import Best
from pipeline.training.config import TrainConfig
from pipeline.training.trainer import NO_VOTES, Trainer, Votes


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


@dataclass(frozen=True)
class RunResult:
    """What a run came to. `epoch` is a fraction.

    `stopped`: it was asked to stop, and can go on from its last checkpoint. `chars_per_sec` is the
    rate of this session (progress.py says of what), None where no step was left to make.
    `diverged`: why the run ended, where rollbacks did not help.
    """

    step: int
    epoch: float
    minutes: float
    best: Best
    parameters: int
    stopped: bool
    chars_per_sec: float | None = None
    rollbacks: int | None = None
    diverged: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RunResult:
        return cls(**{**value, "best": Best(**value["best"])})


def train(trainer: Trainer, reporter: Reporter, look_every_s: float = 0.0) -> RunResult:
    """Run to the end of the configured steps, epochs, minutes or patience, or until asked to stop.

    Every rank runs this loop. What depends on a clock or a signal is voted on by rank 0 and agreed
    within the step, so that all ranks evaluate, save and end at the same one.
    """
    config = trainer.config
    leads = trainer.group.leads
    clock = Clock(config, trainer.minutes, trainer.evaluated, look_every_s)
    rate = Rate()
    chars_per_sec = None
    interrupted = False
    finished = _is_over(trainer)
    while not (finished or interrupted):
        votes = NO_VOTES
        if leads:
            votes = clock.votes(trainer.minutes, stop=reporter.stop_asked())
        # Votes of before the step: what they lead to is agreed when the step is made.
        row, agreed = trainer.train_step(votes)
        reached_end = agreed.late or _is_over(trainer)
        # A run that is asked to stop at its last step has ended, and must not be resumed.
        interrupted = agreed.stop and not _is_over(trainer)

        # A stop must not add an evaluation: `best` and `stale` would change, and a resumed run
        # would differ.
        evaluation_due = agreed.evaluate or _is_step_due(trainer, "eval_every")
        metrics: dict[str, float] = {}
        if reached_end or evaluation_due:
            metrics = trainer.evaluate()
        improved = bool(metrics) and trainer.best.step == trainer.step
        # Asked once more: the evaluation may have been the last that patience allows.
        finished = reached_end or _is_over(trainer)
        # Behind the evaluation: it is part of the work, and of the time that the work takes.
        rate.done += trainer.plan.tokens_per_step
        chars_per_sec = rate.per_second()
        row = {**row, "chars_per_sec": chars_per_sec, **metrics}
        trainer.journal.append(row)
        reporter.progress(trainer.step, trainer.total_steps, row)

        leaving = agreed.look and reporter.leaving()
        checkpoint_due = agreed.save or _is_step_due(trainer, "checkpoint_every")
        if finished or interrupted or improved or leaving or checkpoint_due:
            # All ranks give their lanes; rank 0 gets the files.
            files = trainer.files(evaluated=bool(metrics))
            if files is not None:
                reporter.save(trainer.step, files, trainer.journal.data)
            # Whatever the reason was: the next one is due a whole interval later.
            clock.saved = trainer.minutes
        if metrics:
            clock.evaluated = trainer.evaluated
        if agreed.look:
            clock.looked = time.monotonic()
        if leads and config.samples_at(trainer.step):
            reporter.sample(trainer)
    return RunResult(
        step=trainer.step,
        epoch=trainer.step / trainer.plan.steps_per_epoch,
        minutes=trainer.minutes,
        best=trainer.best,
        parameters=trainer.model.num_parameters(),
        stopped=interrupted,
        chars_per_sec=chars_per_sec,
        rollbacks=trainer.healing.rollbacks or None,
        diverged=trainer.healing.diverged or None,
    )


class Clock:
    """Rank 0's votes that depend on time: what is due by the clock, and the end of the run.

    Intervals are counted in the run's minutes of training, over all its sessions: a session begins
    at a checkpoint, and knows when the evaluation before it was. `look` goes by the world's clock.
    """

    def __init__(
        self,
        config: TrainConfig,
        saved: float = 0.0,
        evaluated: float = 0.0,
        look_every_s: float = 0.0,
    ) -> None:
        self.config = config
        self.eval_every = config.interval("eval_every").minutes
        self.checkpoint_every = config.interval("checkpoint_every").minutes
        self.look_every_s = look_every_s
        self.saved = saved
        self.evaluated = evaluated
        self.looked = time.monotonic()

    def votes(self, minutes: float, *, stop: bool) -> Votes:
        """What rank 0 votes for after `minutes` of training."""
        limit = self.config.max_minutes
        since_look = time.monotonic() - self.looked
        return Votes(
            stop=stop,
            late=bool(limit) and minutes >= limit,
            evaluate=_is_due(self.eval_every, minutes - self.evaluated),
            save=_is_due(self.checkpoint_every, minutes - self.saved),
            look=_is_due(self.look_every_s, since_look),
        )


def _is_due(every: float, passed: float) -> bool:
    return every > 0 and passed >= every


def _is_step_due(trainer: Trainer, option: str) -> bool:
    """Whether something that is due every so many steps is due after this one."""
    steps = trainer.config.interval(option).steps
    return bool(steps) and trainer.step % steps == 0


def _is_over(trainer: Trainer) -> bool:
    """Whether the run's steps, its patience or its rollbacks are used up."""
    total = trainer.total_steps
    patience = trainer.config.patience
    steps_are_used_up = bool(total) and trainer.step >= total
    patience_is_used_up = bool(patience) and trainer.stale >= patience
    return steps_are_used_up or patience_is_used_up or bool(trainer.healing.diverged)
