"""Where the loss lies: what a model's nats are spent on, by kind of place in the text.

After Karpathy, Johnson and Li (2015), who took the errors of an LSTM apart one kind after the
other. A symbol may be of several kinds; `own` counts each symbol's loss at the first kind that it
is of, so that these shares add up to all of it. Rivals, such as a 20-gram, are scored on the same
symbols.

Shapes: N symbols of a text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.corpora.vocab import Unit
from pipeline.errors import InputError
from pipeline.evaluation import places
from pipeline.evaluation.breakdown_plot import Lines, plot
from pipeline.evaluation.section import Section

RARE = 5  # times a word is in the training split, at most, as in the paper
_CLOSER_BOUNDS = (1, 10, 30, 100, 300, 1000)
_LEARNING_BOUNDS = (1, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000)
_LIKELY = math.log(2)  # nats of a symbol that was given half of the probability


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The symbols of one kind, and what was spent on them. `own` is in nats, of the symbols that
    are of no kind before this one. Nats of rivals are of the same symbols.
    """

    name: str
    symbols: int
    nats: float
    own: float
    rivals: dict[str, float]

    @property
    def bits(self) -> float:
        """Bits a symbol."""
        return _bits(self.nats, self.symbols)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Symbols at a distance of `low` or more, up to the next bin."""

    low: int
    symbols: int
    nats: float
    rivals: dict[str, float]

    @property
    def bits(self) -> float:
        return _bits(self.nats, self.symbols)


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """What `nats` of `symbols` symbols were spent on.

    `closers` are brackets and quotes that close, by the distance to the opener; `learning` are all
    symbols, by the distance from where the model's state began empty.
    """

    symbols: int
    nats: float
    rivals: dict[str, float]
    kinds: tuple[Kind, ...]
    closers: tuple[Bin, ...]
    learning: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "symbols": self.symbols,
            "nats": self.nats,
            "rivals": self.rivals,
            "kinds": [{**vars(kind), "bits": kind.bits} for kind in self.kinds],
            "closers": [{**vars(each), "bits": each.bits} for each in self.closers],
            "learning": [{**vars(each), "bits": each.bits} for each in self.learning],
        }


def breakdown(
    symbols: np.ndarray,
    nats: np.ndarray,
    unit: Unit,
    *,
    rivals: Mapping[str, np.ndarray] | None = None,
    word_counts: np.ndarray | None = None,
    distances: np.ndarray | None = None,
) -> Breakdown:
    """Take the loss on a text apart.

    symbols (N,) are byte values or code points, nats (N,) what each cost, nan where it was not
    scored. `rivals` are other models' nats of the same symbols. `word_counts` says how often each
    word of the text (places.words_of) is in the training split; without it no word is known to be
    rare. `distances` (N,) are symbols since the state was empty, 1 for the first that is predicted;
    without it the text is one stretch.
    """
    rivals = dict(rivals or {})
    for name, values in {"nats": nats, **rivals}.items():
        if values.shape != symbols.shape:
            raise InputError(
                f"{name} has {len(values)} values for {len(symbols)} symbols; it needs one each."
            )
    scored = ~np.isnan(nats)
    for values in rivals.values():
        scored &= ~np.isnan(values)
    sums = _Sums(scored, nats, rivals)
    if distances is None:
        distances = np.arange(len(symbols))
    symbols = places.with_newlines(symbols)
    to_opener = places.opener_distances(symbols)
    masks = _kinds(symbols, unit, rivals, word_counts, to_opener)
    return Breakdown(
        symbols=int(scored.sum()),
        nats=sums.nats_of(scored),
        rivals=sums.rivals_of(scored),
        kinds=tuple(_counted(masks, sums)),
        closers=_bins(to_opener, _CLOSER_BOUNDS, sums),
        learning=_bins(distances, _LEARNING_BOUNDS, sums),
    )


def section(result: Breakdown) -> Section:
    """The kinds, then closers and learning by distance, as one table with a picture."""
    names = list(result.rivals)
    head = ("symbols that are", "of all", "bits each", "of the loss", "own share")
    rows = [(*head, *(f"{name}, bits" for name in names))]
    for kind in result.kinds:
        own = _percent(kind.own, result.nats)
        rows.append(_row(kind.name, kind, result, own))
    for title, bins in (("closing, opened", result.closers), ("all, state empty", result.learning)):
        for each in bins:
            rows.append(_row(f"{title} {each.low:,}+ symbols before", each, result, ""))
    lead = (
        "A symbol may be of several kinds; its own share counts it at the first, so that those add "
        "up to the whole loss. Rows by distance: brackets and quotes that close, by how far before "
        "they were opened; all symbols, by how far before the model's state was empty."
    )
    return Section(
        title="Where the loss lies", lead=lead, table=tuple(rows), plots=(_picture(result),)
    )


def _picture(result: Breakdown) -> str:
    """Own shares of the loss, and bits by distance for the model and its rivals."""
    shares = {kind.name: 100 * kind.own / (result.nats or 1.0) for kind in result.kinds}
    closers = _lines(result, result.closers, "closing symbols", "symbols since the opener")
    learning = _lines(result, result.learning, "all symbols", "symbols since an empty state")
    return plot(shares, closers, learning)


def _lines(result: Breakdown, bins: tuple[Bin, ...], title: str, label: str) -> Lines:
    bits = {"model": [each.bits for each in bins]}
    for name in result.rivals:
        bits[name] = [_bits(each.rivals[name], each.symbols) for each in bins]
    return Lines(title=title, label=label, distances=[each.low for each in bins], bits=bits)


class _Sums:
    """Sums nats over masks of the symbols that all models scored."""

    def __init__(
        self, scored: np.ndarray, nats: np.ndarray, rivals: Mapping[str, np.ndarray]
    ) -> None:
        self.scored = scored
        self._nats = np.where(scored, nats, 0.0)
        self._rivals = {name: np.where(scored, values, 0.0) for name, values in rivals.items()}

    def nats_of(self, mask: np.ndarray) -> float:
        return float(self._nats[mask].sum(dtype=np.float64))

    def rivals_of(self, mask: np.ndarray) -> dict[str, float]:
        return {
            name: float(values[mask].sum(dtype=np.float64)) for name, values in self._rivals.items()
        }


def _kinds(
    symbols: np.ndarray,
    unit: Unit,
    rivals: Mapping[str, np.ndarray],
    word_counts: np.ndarray | None,
    to_opener: np.ndarray,
) -> dict[str, np.ndarray]:
    """A mask (N,) for each kind, in the order in which loss is given to them."""
    words = places.words_of(symbols, unit)
    first_letters = np.zeros(len(symbols), np.bool_)
    first_letters[words.starts] = True
    masks = {}
    for name, values in rivals.items():
        masks[f"likely to {name}"] = values < _LIKELY
    masks["repeats from the last 100"] = places.repeats(symbols, 100)
    masks["repeats from the last 1,000"] = places.repeats(symbols, 1000)
    if word_counts is not None:
        rare = np.asarray(word_counts) <= RARE
        masks[f"in words seen {RARE} times or less"] = words.mask(rare, len(symbols))
    masks["closing brackets and quotes"] = to_opener > 0
    masks["first letters of words"] = first_letters
    masks["after a newline"] = places.follows(symbols, "\n")
    masks["after a space"] = places.follows(symbols, " ")
    in_words = words.mask(np.ones(len(words.starts), np.bool_), len(symbols))
    masks["later letters of words"] = in_words & ~first_letters
    masks["all others"] = ~np.any(list(masks.values()), axis=0)
    return masks


def _counted(masks: Mapping[str, np.ndarray], sums: _Sums) -> list[Kind]:
    kinds = []
    left = sums.scored.copy()
    for name, mask in masks.items():
        own = mask & sums.scored
        kinds.append(
            Kind(
                name=name,
                symbols=int(own.sum()),
                nats=sums.nats_of(own),
                own=sums.nats_of(mask & left),
                rivals=sums.rivals_of(own),
            )
        )
        left &= ~mask
    return kinds


def _bins(distances: np.ndarray, bounds: tuple[int, ...], sums: _Sums) -> tuple[Bin, ...]:
    """Scored symbols by distance; bins without any are left out."""
    number = np.searchsorted(bounds, distances, side="right")
    bins = []
    for index, low in enumerate(bounds, start=1):
        mask = (number == index) & sums.scored
        if mask.any():
            bins.append(
                Bin(
                    low=low,
                    symbols=int(mask.sum()),
                    nats=sums.nats_of(mask),
                    rivals=sums.rivals_of(mask),
                )
            )
    return tuple(bins)


def _row(name: str, part: Kind | Bin, result: Breakdown, own: str) -> tuple[str, ...]:
    others = (f"{_bits(part.rivals[rival], part.symbols):.3f}" for rival in result.rivals)
    share = _percent(part.symbols, result.symbols)
    loss = _percent(part.nats, result.nats)
    return (name, share, f"{part.bits:.3f}", loss, own, *others)


def _bits(nats: float, symbols: int) -> float:
    return nats / math.log(2) / max(1, symbols)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"
