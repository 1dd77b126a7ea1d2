"""What one text is asked of the engine. Pure: imports neither numba nor torch, so that settings can
be checked with it.
"""

from __future__ import annotations

import hashlib
import math
import numbers
import struct
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from pipeline.counter_rng import key_of
from pipeline.errors import InputError

LINE = b"\n"  # ends an item of a text of lines, and stands before the first
MAX_SEED = 1 << 63  # what the compiled loop's whole numbers stay below, the other counts as well
SHOWN_CHARS = 60  # of a wrong value in a message


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
        lowest = {"number": 0, "num_chars": 1, "top_k": 0, "lines": 0}
        checked: dict[str, Any] = {}
        for option, low in lowest.items():
            checked[option] = whole_number(option, getattr(self, option))
            if checked[option] < low:
                raise InputError(f"{option} is {getattr(self, option)}; it must be at least {low}.")
            if checked[option] >= MAX_SEED:
                raise InputError(f"{option} is {shown(checked[option])}; it must be below 2**63.")
        checked["seed"] = whole_number("seed", self.seed)
        if not 0 <= checked["seed"] < MAX_SEED:
            raise InputError(f"seed is {shown(self.seed)}; it must be at least 0 and below 2**63.")
        checked["top_p"] = real_number("top_p", self.top_p)
        if not 0 < checked["top_p"] <= 1:
            raise InputError(f"top_p is {shown(self.top_p)}; it must be above 0 and at most 1.")
        temperature = real_number("temperature", self.temperature)
        if not (math.isfinite(temperature) and temperature >= 0):
            raise InputError(
                f"temperature is {shown(self.temperature)}; "
                "it must be a finite number of at least 0."
            )
        # Adding 0.0 turns -0.0 into 0.0, which would be two keys for one temperature.
        checked["temperature"] = temperature + 0.0
        if checked["lines"] and LINE in self.prime:
            raise InputError(
                "a prime with a line feed cannot begin a line; leave out lines, or the line feed."
            )
        # numpy's numbers become Python's: a key is made of whole numbers of any size.
        for option, value in checked.items():
            object.__setattr__(self, option, value)

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

    def __post_init__(self) -> None:
        # Finite weights can be so large that their products are not: the text would be noise, and
        # its record no JSON.
        if not math.isfinite(self.nats):
            raise InputError(
                "the model's logits are not finite numbers: its weights are too large to compute "
                "with; take an earlier checkpoint, or train again."
            )


def check_stop(lines: int, stop: str | bytes) -> None:
    """Refuse a stop text beside lines."""
    if lines and stop:
        raise InputError(
            "lines end at a line feed, so stop has no meaning with them; give one of the two."
        )


def whole_number(option: str, value: Any) -> int:
    """A value as a whole number, numpy's too. InputError, naming the option, for anything else."""
    # To Python, True is 1; to whoever wrote it, it is no count.
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputError(f"{option} is {shown(value)}; it must be a whole number.")
    return int(value)


def real_number(option: str, value: Any) -> float:
    """A value as a float. InputError, naming the option, for what is no number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InputError(f"{option} is {shown(value)}; it must be a number.")
    try:
        return float(value)
    except OverflowError:
        return math.inf  # a whole number beyond all floats


def written_text(option: str, value: Any) -> str:
    """A value as text that can be written. InputError, naming the option, for anything else."""
    if not isinstance(value, str):
        raise InputError(f"{option} is {shown(value)}; it must be text.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{option} is {shown(value)}, which has half a surrogate pair at {error.start} "
            "and is no text; leave that character out."
        ) from None
    return value


def shown(value: Any) -> str:
    """A wrong value in a message: one line, and not all of a long one."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # anybody's __repr__; and Python writes no number of 5,000 digits
        return f"a {type(value).__name__}"
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."
