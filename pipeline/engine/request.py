"""What one text is asked of the engine. Pure: imports neither numba nor torch, so that settings can
be checked with it.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Hashable
from dataclasses import dataclass

from pipeline.counter_rng import key_of
from pipeline.errors import InputError

LINE = b"\n"  # ends an item of a text of lines, and stands before the first
MAX_SEED = 1 << 63


@dataclass(frozen=True)
class Request:
    """One text to sample: `number` tells the files of a job apart; `prime` is text in the model's
    unit.

    `temperature` divides the logits, and 0 takes the likeliest symbol. `top_k` 0 and `top_p` 1 keep
    all symbols.

    With `lines`, the text is that many items, each a line that begins with the prime and has
    `num_chars` characters at most; the model reads a line feed first and starts each from a zero
    state.

    Raises InputError, naming the setting, for values that mean nothing.
    """

    number: int
    num_chars: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    prime: bytes = b""
    seed: int = 1
    lines: int = 0

    def __post_init__(self) -> None:
        lowest = {"num_chars": 1, "top_k": 0, "lines": 0}
        for option, low in lowest.items():
            if getattr(self, option) < low:
                raise InputError(f"{option} is {getattr(self, option)}; it must be at least {low}.")
        if not 0 <= self.seed < MAX_SEED:
            raise InputError(f"seed is {self.seed}; it must be at least 0 and below 2**63.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; it must be above 0 and at most 1.")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(
                f"temperature is {self.temperature}; it must be a finite number of at least 0."
            )

    @property
    def key(self) -> int:
        """The key of this request's random numbers: its seed, temperature, prime and number."""
        # Texts that differ in any of the four share no random numbers. What only narrows the choice
        # (top_k, top_p, stop) or ends it is left out: those texts may run alike up to there.
        prime = int.from_bytes(hashlib.sha256(self.prime).digest()[:8], "big")
        (temperature,) = struct.unpack("<Q", struct.pack("<d", self.temperature))
        return key_of(self.seed, temperature, prime, self.number)


@dataclass(frozen=True)
class Piece:
    """What a lane wrote next. `sampled` characters and `nats` (under the model, at temperature 1)
    count from its start.
    """

    name: Hashable
    text: bytes
    sampled: int
    nats: float
    ended: bool


def check_stop(lines: int, stop: str | bytes) -> None:
    """Refuse a stop text beside lines."""
    if lines and stop:
        raise InputError(
            "lines end at a line feed, so stop has no meaning with them; give one of the two."
        )
