"""When a model in training learned what: detected in samples on the way, beside figures of real
text.

Karpathy's post of 2015 tells it of Tolstoy: words and spaces by 300 steps, quotes and periods by
500, short words next, then names and longer words. Here each is a figure of a sample, and is
reached at the first step from which on every sample has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ENOUGH = 0.5  # of words that must be words of the text
FACTOR = 2.0  # a share counts as the text's own between half and twice of it
FEWEST_WORDS = 5  # of a kind in a sample, to say anything of them
SHORT = 4  # letters of a short word at most
LONG = 7  # of a longer word at least

_WORD = re.compile(r"[^\W\d_]+")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]+")  # a capital that begins no sentence
_MARKS = "\"'.,;:!?()"


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A run at one step: what it had lost by then, and what the model wrote."""

    step: int
    loss: float
    sample: str


@dataclass(frozen=True)
class Milestone:
    """Something that is learned: its figure at each step, what it must be, and since when it is.

    A figure is None where the sample holds too little to tell; `reached` is None for never.
    """

    name: str
    needed: str
    figures: tuple[float | None, ...]
    reached: int | None

    def to_json(self) -> dict[str, Any]:
        figures = list(self.figures)
        return {
            "name": self.name,
            "needed": self.needed,
            "figures": figures,
            "reached": self.reached,
        }


def milestones(run: Sequence[Sampled], text: str) -> tuple[Milestone, ...]:
    """The post's milestones in a run's samples, in order of steps, measured by a text of the corpus
    that the samples were to be like.
    """
    words = set(_WORD.findall(text))
    known = {
        "words of up to 4 letters": lambda sample: _known(
            [word for word in _WORD.findall(sample) if len(word) <= SHORT], words
        ),
        "names": lambda sample: _known(_NAME.findall(sample), words),
        "words of 7 letters and more": lambda sample: _known(
            [word for word in _WORD.findall(sample) if len(word) >= LONG], words
        ),
    }
    shares = {"spaces": str.isspace, "quotes, periods and other marks": _MARKS.__contains__}
    found = [_like_text(name, run, text, kind) for name, kind in shares.items()]
    for name, figure in known.items():
        figures = [figure(each.sample) for each in run]
        holds = [value is not None and value >= ENOUGH for value in figures]
        needed = f"at least {ENOUGH:.0%} are words of the text"
        found.append(Milestone(name, needed, tuple(figures), _reached(run, holds)))
    return tuple(found)


def _like_text(
    name: str, run: Sequence[Sampled], text: str, kind: Callable[[str], bool]
) -> Milestone:
    """A kind of character: reached when it is about as frequent as in the text."""
    own = _share(text, kind)
    low = own / FACTOR
    high = own * FACTOR
    figures = [_share(each.sample, kind) for each in run]
    holds = [low <= value <= high and value > 0 for value in figures]
    needed = f"a share between {low:.1%} and {high:.1%}; the text has {own:.1%}"
    return Milestone(name, needed, tuple(figures), _reached(run, holds))


def _share(text: str, kind: Callable[[str], bool]) -> float:
    return sum(map(kind, text)) / max(1, len(text))


def _known(written: list[str], words: set[str]) -> float | None:
    """The share of written words that are words, capital or not."""
    if len(written) < FEWEST_WORDS:
        return None
    return sum(word in words or word.lower() in words for word in written) / len(written)


def _reached(run: Sequence[Sampled], holds: list[bool]) -> int | None:
    """The first step from which on it holds at every step."""
    since = None
    for each, held in zip(run, holds, strict=True):
        if not held:
            since = None
        elif since is None:
            since = each.step
    return since
