"""When a step's numbers say that training diverges, and what becomes of the learning rate.

Numbers in, decisions out: no tensors here. All that decides is summed over the ranks, or computed
from what is, so that every rank comes to the same decision.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import asdict, dataclass, field
from typing import Any

RATE_FACTOR = 0.5  # of the learning rate, at each rollback
# In a run's first steps: whatever diverges there is too high by far, and nothing is learned yet
# that a larger change could lose.
FIRST_RATE_FACTOR = 0.1
# A band's mean and width are those of some 50 steps.
_SHARE = 0.02
# So many steps are seen before a band says anything: the first losses fall steeply.
_FIRST_STEPS = 20
# Far outside: so many mean deviations above the mean, and at least this far above it. Losses of
# small batches vary by whole nats, those of large ones by hundredths.
_WIDTHS = 10.0
_LOSS_MARGIN = 1.0  # nats
_NORM_MARGIN = math.log(30)  # of the norm's logarithm: norms vary by factors
# A model that guesses all symbols alike has log(V) nats. So far above it nothing is learning. Sane
# learning rates did not go above it at all, Adam at 1.0 went 2.4 above it at the second step.
_ABOVE_GUESSING = 1.0
# Where the text is to blame: so much wider are the bands afterwards, until they narrow again.
_WIDENING = 1.5


@dataclass(frozen=True)
class Band:
    """Where a number has been of late: its mean, and its mean distance from that."""

    steps: int = 0
    mean: float = 0.0
    deviation: float = 0.0

    def after(self, value: float) -> Band:
        """The band with one value more."""
        steps = self.steps + 1
        share = max(1 / steps, _SHARE)
        difference = value - self.mean if self.steps else 0.0
        mean = self.mean + share * (value - self.mean)
        deviation = self.deviation + share * (abs(difference) - self.deviation)
        return Band(steps, mean, deviation)

    def limit(self, margin: float, widening: float) -> float:
        """The highest value that is not far outside; infinite for a band that is too young."""
        if self.steps < _FIRST_STEPS:
            return math.inf
        return self.mean + widening * max(_WIDTHS * self.deviation, margin)


@dataclass(frozen=True)
class Healing:
    """A run's state of health, as state.json holds it.

    `rollbacks` have been made, and the schedule's learning rate is multiplied by `rate_multiplier`.
    `snapshot_step` is the step of the snapshot in memory, None before there is one, and the bands
    called snapshot_ are as they were then. `widening` is of both bands. `skips`: the last step was
    rolled back. `diverged` says why the run has ended, "" for one that has not.
    """

    rate_multiplier: float = 1.0
    rollbacks: int = 0
    snapshot_step: int | None = None
    widening: float = 1.0
    skips: bool = False
    diverged: str = ""
    loss: Band = field(default_factory=Band)
    log_norm: Band = field(default_factory=Band)
    snapshot_loss: Band = field(default_factory=Band)
    snapshot_log_norm: Band = field(default_factory=Band)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Healing:
        names = ("loss", "log_norm", "snapshot_loss", "snapshot_log_norm")
        bands = {name: Band(**value[name]) for name in names}
        return cls(**{**value, **bands})

    def loss_limit(self, guessing: float) -> float:
        """The highest loss that is not far outside; `guessing` is the loss of a model that knows
        nothing.
        """
        if not self.loss.steps:
            return math.inf
        of_band = self.loss.limit(_LOSS_MARGIN, self.widening)
        # A warm start on another kind of text begins above guessing.
        start = max(guessing, self.loss.mean)
        return min(of_band, start + self.widening * _ABOVE_GUESSING)

    def fault(self, loss: float, grad_norm: float, guessing: float, *, watches: bool) -> str:
        """What is wrong with a step's numbers; "" where nothing is.

        Without `watches` only numbers that are not finite are wrong.
        """
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            return f"loss {loss:.3g}, gradient norm {grad_norm:.3g}"
        if not watches:
            return ""
        limit = self.loss_limit(guessing)
        if loss > limit:
            return f"loss {loss:.3g} is far above {self.loss.mean:.3g} (limit {limit:.3g})"
        log_limit = self.log_norm.limit(_NORM_MARGIN, self.widening)
        if _log(grad_norm) > log_limit:
            usual = math.exp(self.log_norm.mean)
            return (
                f"gradient norm {grad_norm:.3g} is far above {usual:.3g} "
                f"(limit {math.exp(log_limit):.3g})"
            )
        return ""

    def accepted(self, loss: float, grad_norm: float) -> Healing:
        """After a step whose numbers were good: they join the bands."""
        return dataclasses.replace(
            self,
            loss=self.loss.after(loss),
            log_norm=self.log_norm.after(_log(grad_norm)),
            widening=1 + (1 - _SHARE) * (self.widening - 1),
            skips=False,
        )

    def taken(self, step: int) -> Healing:
        """With a snapshot of step `step`."""
        return dataclasses.replace(
            self, snapshot_step=step, snapshot_loss=self.loss, snapshot_log_norm=self.log_norm
        )

    def restored(self) -> Healing:
        """With the bands of the snapshot: what its weights do is not far outside of those."""
        return dataclasses.replace(self, loss=self.snapshot_loss, log_norm=self.snapshot_log_norm)

    def rolled_back(self, *, text_is_hard: bool) -> Healing:
        """After a step that was rolled back, and `restored`.

        `text_is_hard`: the snapshot's weights find the text as hard as those that were given up.
        The text is then to blame, and the bands widen: a stretch of spoilt text is skipped, for
        which one rollback counts, and another kind of text is learned after a few steps of it.
        """
        if not text_is_hard:
            return self._counted(self.widening)
        widening = self.widening * _WIDENING
        if self.skips:
            return dataclasses.replace(self, widening=widening)
        return self._counted(widening)

    def _counted(self, widening: float) -> Healing:
        is_first = self.loss.steps < _FIRST_STEPS
        factor = FIRST_RATE_FACTOR if is_first else RATE_FACTOR
        return dataclasses.replace(
            self,
            rollbacks=self.rollbacks + 1,
            rate_multiplier=self.rate_multiplier * factor,
            widening=widening,
            skips=True,
        )


def _log(norm: float) -> float:
    """A norm's logarithm; that of a gradient of zeros is finite too."""
    return math.log(max(norm, 1e-30))
