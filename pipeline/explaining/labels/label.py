"""A label: a property of every symbol of a text. Scanners write marks; labels are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

LabelKind = Literal["binary", "real"]
# Text that opens and never closes: a depth beyond this says nothing more.
DEEPEST = 100


@dataclass(frozen=True)
class Label:
    """A name and its values (N,) float32, 0 or 1 for a binary label."""

    name: str
    kind: LabelKind
    values: np.ndarray


def binary(name: str, values: np.ndarray | list[bool] | bytearray) -> Label:
    """A label that is on or off."""
    return Label(name, "binary", (np.asarray(_array(values)) != 0).astype(np.float32))


def real(name: str, values: np.ndarray | list[int]) -> Label:
    """A label that is a number."""
    return Label(name, "real", np.asarray(values, np.float32))


def since(marks: np.ndarray) -> np.ndarray:
    """Symbols since the last mark (N,): 0 at a mark. A mark is assumed before the text."""
    places = np.arange(len(marks))
    last = np.maximum.accumulate(np.where(marks, places, -1))
    return places - last


def next_is(marks: np.ndarray) -> np.ndarray:
    """Whether the symbol behind is marked; the last symbol has none behind it."""
    return np.append(marks, False)[1:]


def run_lengths(marks: np.ndarray) -> np.ndarray:
    """At a marked symbol the marked symbols up to it without a gap, from 1; elsewhere 0."""
    return np.where(marks, since(~marks), 0)


def _array(values: np.ndarray | list[bool] | bytearray) -> np.ndarray | list[bool]:
    return np.frombuffer(values, np.uint8) if isinstance(values, bytearray) else values
