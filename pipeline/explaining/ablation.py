"""Is a unit used for what it tracks? It is held at its mean, and the loss is measured again.

What it tracks: for a label that is on or off, the places where it is on or about to change; for a
number, the places where it is in its upper quarter or about to fall. The loss of a place is that of
the token behind it. Beside each unit stand random units of the same layer, held in the same way.

All runs are lanes side by side that read the same tokens: the first holds nothing.
Shapes: T tokens, B lanes, L layers, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from pipeline import counter_rng
from pipeline.explaining.labels.label import Label
from pipeline.explaining.stepping import Clamp, step_through
from pipeline.model.network import CharRNN
from pipeline.progress import Progress

RANDOM_UNITS = 20  # of each layer
MOST_UNITS = 24  # that are held, beside them
LONGEST = 8192  # tokens read
WARM_UP = 512  # of them that do not count
_STRETCH = 256


@dataclass(frozen=True)
class Target:
    """A unit to hold, and the label (T,) that it tracks."""

    layer: int
    unit: int
    label: Label


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """By how many nats a token the loss grows when a unit is held at its mean.

    `tracked_tokens` of `tokens` are what it tracks. `random_tracked` and `random_elsewhere` are the
    same figures of random units, in order; `as_large` is the share of them that cost as much or
    more at what this unit tracks.
    """

    layer: int
    unit: int
    label: str
    tokens: int
    tracked_tokens: int
    tracked: float
    elsewhere: float
    random_tracked: tuple[float, ...]
    random_elsewhere: tuple[float, ...]
    as_large: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def ablate(
    network: CharRNN, tokens: np.ndarray, means: np.ndarray, targets: Sequence[Target], seed: int
) -> tuple[Ablation, ...]:
    """Hold each target's unit at its mean (L, H) while reading tokens; labels have a value each."""
    if not targets or len(tokens) < 2:
        return ()
    rivals = {
        layer: _random_units(layer, targets, len(means[0]), seed)
        for layer in sorted({target.layer for target in targets})
    }
    held = list(dict.fromkeys([(target.layer, target.unit) for target in targets]))
    held += [(layer, unit) for layer, units in rivals.items() for unit in units]
    lane_of = {pair: 1 + index for index, pair in enumerate(held)}
    nats = _nats(network, tokens, _clamps(held, means))
    first = min(WARM_UP, len(tokens) // 2)
    growth = nats[first:] - nats[first:, :1]  # (T, B)
    results = []
    for target in targets:
        places = tracked_places(target.label)[first : len(tokens) - 1]
        own = growth[:, lane_of[target.layer, target.unit]]
        lanes = [lane_of[target.layer, unit] for unit in rivals[target.layer]]
        random_tracked = [_mean(growth[:, lane], places) for lane in lanes]
        tracked = _mean(own, places)
        larger = sum(each >= tracked for each in random_tracked)
        results.append(
            Ablation(
                layer=target.layer,
                unit=target.unit,
                label=target.label.name,
                tokens=len(places),
                tracked_tokens=int(places.sum()),
                tracked=tracked,
                elsewhere=_mean(own, ~places),
                random_tracked=tuple(random_tracked),
                random_elsewhere=tuple(_mean(growth[:, lane], ~places) for lane in lanes),
                as_large=larger / max(1, len(lanes)),
            )
        )
    return tuple(results)


def tracked_places(label: Label) -> np.ndarray:
    """Where a label is on, or about to change (T,); see above for numbers."""
    values = label.values
    following = np.append(values[1:], values[-1:])
    if label.kind == "binary":
        return (values > 0) | (following != values)
    return (values > np.quantile(values, 0.75)) | (following < values)


def _random_units(layer: int, targets: Sequence[Target], size: int, seed: int) -> list[int]:
    """Units of a layer that are no target; fewer where the layer has no more."""
    own = {target.unit for target in targets if target.layer == layer}
    (drawn,) = counter_rng.uniforms([counter_rng.key_of(seed, layer)], 0, size)
    return [unit for unit in np.argsort(drawn).tolist() if unit not in own][:RANDOM_UNITS]


def _clamps(held: list[tuple[int, int]], means: np.ndarray) -> list[Clamp]:
    clamps = []
    for layer in sorted({layer for layer, _ in held}):
        rows = [(1 + index, unit) for index, (own, unit) in enumerate(held) if own == layer]
        units = [unit for _, unit in rows]
        values = torch.from_numpy(means[layer, units].astype(np.float32))
        lanes = torch.tensor([lane for lane, _ in rows])
        clamps.append(Clamp(layer, lanes, torch.tensor(units), values))
    return clamps


@torch.no_grad()
def _nats(network: CharRNN, tokens: np.ndarray, clamps: list[Clamp]) -> np.ndarray:
    """The nats (T - 1, B) of every token but the first, in a lane without a clamp and in those
    that have one.
    """
    lanes = 1 + sum(len(clamp.lanes) for clamp in clamps)
    state = network.initial_state(lanes)
    nats = np.empty((len(tokens) - 1, lanes), np.float32)
    progress = Progress("causal check", len(tokens) - 1, "tokens")
    for start in range(0, len(nats), _STRETCH):
        stop = min(start + _STRETCH, len(nats))
        column = torch.from_numpy(tokens[start : stop + 1].astype(np.int64))[:, None]
        inside = step_through(network, column[:-1].expand(-1, lanes), state, clamps)
        state = inside.state
        log_probs = torch.log_softmax(inside.logits, dim=2)
        wanted = column[1:].expand(-1, lanes)[:, :, None]
        nats[start:stop] = -log_probs.gather(2, wanted)[:, :, 0].numpy()
        progress.add(stop - start)
    progress.finish()
    return nats


def _mean(values: np.ndarray, places: np.ndarray) -> float:
    return float(values[places].mean(dtype=np.float64)) if places.any() else 0.0
