"""Dynamic evaluation: a model that goes on learning from the text it is tested on.

Krause, Kahembwe, Murray and Renals (2018): behind every few symbols the weights take a step down
the gradient of what they just cost, and a step back towards where they began. By the paper's rule
"rms" both steps are scaled by the weight's mean squared gradient on training text; "sgd" scales
neither. Settings are tuned on one text
and reported on another; a symbol is scored before it is learnt. A score of this kind is a score of
model and method together: it always stands apart.

Shapes: T symbols a segment, B lanes (one state each, one set of weights for all), N symbols.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional

from pipeline.corpora.shards import TokenSource
from pipeline.errors import InputError
from pipeline.evaluation.section import Section
from pipeline.model.network import CharRNN
from pipeline.model.scoring import bits_per_char, lane_bounds
from pipeline.model.threads import one_thread

Rule = Literal["rms", "sgd"]

RULES: tuple[Rule, ...] = ("rms", "sgd")
RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
DECAYS = (1e-3,)
_EPSILON = 1e-3  # beside the root of a mean squared gradient, relative to the mean of all roots
_STATISTICS_SEGMENTS = 500  # of training text, for the mean squared gradients


@dataclass(frozen=True, kw_only=True)
class DynamicSettings:
    """How a model learns while it is tested. `learning_rate` 0 is the model as it is.

    A lane is one stretch of the text: more are faster, but learn from several places at once.
    """

    learning_rate: float
    decay: float = 0.0
    rule: Rule = "rms"
    segment: int = 20
    lanes: int = 1

    def __post_init__(self) -> None:
        for name in ("learning_rate", "decay"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} is {value}; it must be a number of at least 0.")
        for name in ("segment", "lanes"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class Tried:
    """Settings that were tried on the tuning text, and the nats a symbol that they gave."""

    settings: DynamicSettings
    nats: float


@dataclass(frozen=True, kw_only=True)
class Dynamic:
    """Nats a symbol without and with learning, on the tuning text and on the one reported.

    `tuning_tokens` symbols of `tuning_split` were read with each of the settings tried.
    """

    settings: DynamicSettings
    tuning_split: str
    tuning_tokens: int
    tuning_static: float
    tuning_nats: float
    split: str
    tokens: int
    static_nats: float
    nats: float
    tried: tuple[Tried, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "settings": vars(self.settings),
            "tried": [{**vars(each.settings), "nats": each.nats} for each in self.tried],
        }


class Statistics:
    """The root of each weight's mean squared gradient on training text, in the weights' order."""

    def __init__(self, roots: list[torch.Tensor]) -> None:
        self.roots = roots
        numbers = sum(root.numel() for root in roots)
        mean = float(sum(root.double().sum() for root in roots)) / numbers
        if mean == 0:
            # All gradients are 0: nothing could be learnt from such a text.
            mean = 1.0
        # Relative to their mean, so that rates mean the same for models of all sizes.
        self.scales = [1 / (root / mean + _EPSILON) for root in roots]
        self.pulls = [root / mean for root in roots]


def gradient_statistics(
    network: CharRNN, train: TokenSource, segment: int = 20, lanes: int = 16
) -> Statistics:
    """Mean squared gradients over stretches of the training text, spread evenly."""
    # The mean gradient of one lane is what dynamic evaluation will see: each lane by itself would
    # be exact, and the paper takes minibatches as well.
    own = copy.deepcopy(network).requires_grad_(True)
    squares = [torch.zeros_like(weight) for weight in own.parameters()]
    steps = 0
    for inputs, targets in _spread_segments(train, segment, lanes):
        state = own.initial_state(inputs.shape[1])
        logits, _ = own(inputs, state)
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        gradients = torch.autograd.grad(loss, list(own.parameters()))
        steps += 1
        for square, gradient in zip(squares, gradients, strict=True):
            square.add_(gradient**2)
    if not steps:
        raise InputError(
            f"the training text has {len(train)} tokens; dynamic evaluation needs {segment + 1} "
            "for its statistics."
        )
    return Statistics([(square / steps).sqrt() for square in squares])


def dynamic_nats(
    network: CharRNN,
    tokens: np.ndarray,
    settings: DynamicSettings,
    statistics: Statistics | None = None,
) -> np.ndarray:
    """The nats of each token of a text, (N,) float64, scored before it is learnt; nan for the
    first. The network is left as it was.

    The rule "rms" needs statistics of training text.
    """
    if settings.learning_rate and settings.rule == "rms" and statistics is None:
        raise InputError("the rule rms needs statistics of training text; give them, or take sgd.")
    own = copy.deepcopy(network).requires_grad_(True)
    learner = _Learner(own, settings, statistics)
    bounds = lane_bounds(len(tokens), settings.lanes)
    lanes = len(bounds) - 1
    nats = np.full(len(tokens), np.nan)
    state = own.initial_state(lanes)
    longest = int(np.diff(bounds).max())
    for at in range(0, longest, settings.segment):
        rows = np.arange(at, min(at + settings.segment, longest))
        places = rows[:, None] + np.array(bounds[:-1])  # (T, B), of inputs
        there = places < np.array(bounds[1:])
        places = np.where(there, places, 0)
        inputs = torch.from_numpy(tokens[places].astype(np.int64))
        targets = torch.from_numpy(tokens[places + 1].astype(np.int64))
        logits, state = own(inputs, state.detach())
        cost = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        nats[places[there] + 1] = cost.detach().double().numpy()[there.ravel()]
        # Only now does the segment change the weights: every symbol of it is scored.
        if settings.learning_rate:
            counted = cost[torch.from_numpy(there.ravel())]
            learner.step(counted.mean())
    return nats


def tuned(
    network: CharRNN,
    tuning: np.ndarray,
    statistics: Statistics,
    *,
    rules: tuple[Rule, ...] = RULES,
    rates: tuple[float, ...] = RATES,
    decays: tuple[float, ...] = DECAYS,
    segment: int = 20,
    lanes: int = 1,
) -> tuple[Tried, ...]:
    """All settings on the tuning text, the best first; of equal ones the gentler."""
    tried = []
    for rule, rate, decay in itertools.product(rules, rates, decays):
        settings = DynamicSettings(
            learning_rate=rate, decay=decay, rule=rule, segment=segment, lanes=lanes
        )
        nats = _mean(dynamic_nats(network, tuning, settings, statistics))
        # Steps that were too large end in no number at all: these settings come last.
        tried.append(Tried(settings=settings, nats=nats if math.isfinite(nats) else math.inf))
    tried.sort(key=lambda each: (each.nats, each.settings.learning_rate, -each.settings.decay))
    return tuple(tried)


@one_thread()
def dynamic_evaluation(
    network: CharRNN,
    train: TokenSource,
    tuning: tuple[str, np.ndarray],
    reported: tuple[str, np.ndarray],
    *,
    rules: tuple[Rule, ...] = RULES,
    rates: tuple[float, ...] = RATES,
    decays: tuple[float, ...] = DECAYS,
    segment: int = 20,
    lanes: int = 1,
) -> Dynamic:
    """Tune on one text and report on another: each is the name of a split, and tokens of it.

    Raises InputError for two names that are one: what is tuned and reported on the same text is no
    result.
    """
    tuning_split, tuning_tokens = tuning
    split, tokens = reported
    if tuning_split == split:
        raise InputError(
            f"dynamic evaluation is tuned on {tuning_split} and reported on {split}; "
            "it needs two splits. Build a corpus with a test split."
        )
    for name, text in (tuning, reported):
        if len(text) < 2:
            raise InputError(f"{name} has {len(text)} tokens; dynamic evaluation needs 2.")
    statistics = gradient_statistics(network, train, segment)
    still = DynamicSettings(learning_rate=0.0, segment=segment, lanes=lanes)
    tried = tuned(
        network,
        tuning_tokens,
        statistics,
        rules=rules,
        rates=rates,
        decays=decays,
        segment=segment,
        lanes=lanes,
    )
    best = tried[0]
    return Dynamic(
        settings=best.settings,
        tuning_split=tuning_split,
        tuning_tokens=len(tuning_tokens),
        tuning_static=_mean(dynamic_nats(network, tuning_tokens, still)),
        tuning_nats=best.nats,
        split=split,
        tokens=len(tokens),
        static_nats=_mean(dynamic_nats(network, tokens, still)),
        nats=_mean(dynamic_nats(network, tokens, best.settings, statistics)),
        tried=tried,
    )


def section(result: Dynamic) -> Section:
    """Both texts, without and with learning."""
    rows = [
        ("text", "symbols", "bits as it is", "bits while learning"),
        _row(
            f"{result.tuning_split}, tuned on it",
            result.tuning_tokens,
            result.tuning_static,
            result.tuning_nats,
        ),
        _row(f"{result.split}, reported", result.tokens, result.static_nats, result.nats),
    ]
    settings = result.settings
    lead = (
        "Bits a symbol of the model as it is, and while it learns from the text behind it (Krause "
        f"et al. 2018: rule {settings.rule}, segments of {settings.segment}, learning rate "
        f"{settings.learning_rate:g}, decay {settings.decay:g}, lanes {settings.lanes}; "
        f"best of {len(result.tried)} settings on {result.tuning_split}). Each symbol is scored "
        "before it is learnt. Not to be compared with scores of models that stay as they are."
    )
    return Section(title="Dynamic evaluation", lead=lead, table=tuple(rows))


class _Learner:
    """The weights of a network on their way, and where they began."""

    def __init__(
        self, network: CharRNN, settings: DynamicSettings, statistics: Statistics | None
    ) -> None:
        self.settings = settings
        self.weights = list(network.parameters())
        self.began = [weight.detach().clone() for weight in self.weights]
        scaled = statistics if settings.rule == "rms" else None
        ones = [torch.ones_like(weight) for weight in self.began]
        self.scales = scaled.scales if scaled else ones
        pulls = scaled.pulls if scaled else ones
        # At most all the way back: a larger pull would swing beyond.
        self.pulls = [(settings.decay * pull).clamp(max=1.0) for pull in pulls]

    def step(self, loss: torch.Tensor) -> None:
        """Down the gradient of a loss, and back towards the beginning."""
        gradients = torch.autograd.grad(loss, self.weights)
        rate = self.settings.learning_rate
        with torch.no_grad():
            for weight, began, gradient, scale, pull in zip(
                self.weights, self.began, gradients, self.scales, self.pulls, strict=True
            ):
                back = pull * (began - weight)
                weight.addcmul_(gradient, scale, value=-rate).add_(back)


def _spread_segments(
    train: TokenSource, segment: int, lanes: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and targets (T, B) of stretches of a text, each but once and from all over it."""
    stretches = (len(train) - 1) // segment
    count = min(_STATISTICS_SEGMENTS * lanes, stretches)
    chosen = np.unique(np.linspace(0, stretches - 1, count, dtype=np.int64)) * segment
    for first in range(0, len(chosen), lanes):
        columns = [
            train.read(at, at + segment + 1) for at in chosen[first : first + lanes].tolist()
        ]
        batch = torch.from_numpy(np.stack(columns, axis=1).astype(np.int64))
        yield batch[:-1], batch[1:]


def _mean(nats: np.ndarray) -> float:
    """The mean over all tokens but the first."""
    return float(nats[1:].mean())


def _row(name: str, tokens: int, static: float, learning: float) -> tuple[str, ...]:
    return (name, f"{tokens:,}", f"{bits_per_char(static):.4f}", f"{bits_per_char(learning):.4f}")
