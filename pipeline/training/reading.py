"""Which documents the lanes were reading at a step, and which of them the model finds hardest."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.corpora.trace import Tracer
from pipeline.training.lanes import LanePlan

WORST = 8  # lanes that a record names; all of a large batch would hide them


@dataclass(frozen=True)
class Reading:
    """A document that a lane was reading: the offset, in bytes of the source, where the lane's text
    begins in it, and the lane's mean nats a token by the weights of the snapshot.

    `offset` is None where the lane stood at a separator, `nats` where they are no number.
    """

    path: str
    offset: int | None
    lane: int
    nats: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        # A file's name may hold what a terminal would obey.
        path = "".join(char if char.isprintable() else "?" for char in self.path)
        place = "its end" if self.offset is None else f"byte {self.offset:,}"
        nats = "no number" if self.nats is None else f"{self.nats:.2f} nats"
        return f"{path} at {place} ({nats})"


def readings(
    tracer: Tracer, plan: LanePlan, epoch: int, step: int, lane_nats: list[float]
) -> list[Reading]:
    """What the hardest lanes were reading at a step of an epoch, the hardest first.

    `lane_nats` are the summed nats of each lane's targets at the step.
    """

    def hardness(lane: int) -> float:
        nats = lane_nats[lane]
        return nats if math.isfinite(nats) else math.inf

    hardest = sorted(range(len(lane_nats)), key=hardness, reverse=True)[:WORST]
    found = []
    for lane in hardest:
        mean = lane_nats[lane] / plan.lane_tokens
        nats = mean if math.isfinite(mean) else None
        start = plan.start(epoch, lane, step)
        # With the last target, which lies behind the last input.
        for origin in tracer.origins("train", start, start + plan.lane_tokens + 1):
            found.append(Reading(origin.path, origin.offset, lane, nats))
    return found
