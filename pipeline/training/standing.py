"""How far a run is: what rank 0 tells of it, and how the driver shows it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from pipeline.model.scoring import bits_per_char
from pipeline.progress import Display, Progress, Standing
from pipeline.training.trainer import Trainer

log = logging.getLogger("unreasonable")

READ_EVERY_S = 0.5  # how often the driver asks
SHOW_EVERY_S = 5.0  # how often it logs a line, where there is no terminal
# char-rnn's rule of thumb: parameters and characters should be of the same order of magnitude.
_FAR_MORE = 10


class StandingWatch:
    """Shows what `read` gives, in a thread beside the run: None is nothing yet."""

    def __init__(self, read: Callable[[], Standing | None], name: str) -> None:
        self.read = read
        self.display = Display(f"train {name}", SHOW_EVERY_S)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True, name="standing-watch")
        self.thread.start()

    def stop(self) -> None:
        """Show where the run has come to, then end."""
        self.ended.set()
        self.thread.join()
        standing = self.read()
        if standing:
            self.display.end(standing)

    def _watch(self) -> None:
        while not self.ended.wait(READ_EVERY_S):
            standing = self.read()
            if standing:
                self.display.show(standing)


def introduce(trainer: Trainer, name: str) -> None:
    """Log how large a run's model and its text are."""
    parameters = trainer.model.num_parameters()
    tokens = len(trainer.tokens)
    log.info(
        "train %s: %s parameters, %s train tokens, %s steps an epoch, %d workers",
        name,
        f"{parameters:,}",
        f"{tokens:,}",
        f"{trainer.plan.steps_per_epoch:,}",
        trainer.group.world_size,
    )
    if parameters > _FAR_MORE * tokens:
        log.info(
            "far more parameters than text: watch val_loss, raise --dropout, or lower --hidden_size"
        )
    elif tokens > _FAR_MORE * parameters:
        log.info(
            "far more text than parameters: "
            "a larger --hidden_size or --num_layers would learn more from it"
        )


def progress_of(trainer: Trainer, name: str) -> Progress:
    """A run's steps as rank 0 counts them. The driver shows them: a worker has no terminal."""
    return Progress(
        f"train {name}", trainer.total_steps, "steps", start=trainer.step, is_shown=False
    )


def standing_of(progress: Progress, row: dict[str, Any]) -> Standing:
    """How far a run is, with the figures of its newest journal row; {} before the first."""
    if row:
        progress.note = note(row)
    return progress.standing()


def note(row: dict[str, Any]) -> str:
    """The figures of a journal row that a person watches."""
    parts = [f"epoch {row['epoch']}"]
    loss = row["train_loss"]
    if loss is not None:
        parts += [f"loss {loss:.3f}", f"{bits_per_char(loss):.3f} bits/char"]
    if "rolled_back_to" in row:
        parts.append(f"rolled back to step {row['rolled_back_to']:,}")
    if "val_loss" in row:
        parts.append(f"val {row['val_bits_per_char']:.3f} bits/char")
    parts.append(f"{row['chars_per_sec']:,.0f} chars/s")
    return ", ".join(parts)
