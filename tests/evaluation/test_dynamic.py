"""Learning while being tested: against the rule written out, and never before scoring."""

from __future__ import annotations

import copy
import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.corpora.shards import Tokens
from pipeline.errors import InputError
from pipeline.evaluation.dynamic import (
    _EPSILON,
    DynamicSettings,
    Statistics,
    dynamic_evaluation,
    dynamic_nats,
    gradient_statistics,
    section,
    tuned,
)
from pipeline.model.network import CharRNN
from pipeline.model.scoring import lane_bounds, mean_nats
from tests.engine import small

# A text that repeats itself: what comes next can be learnt from what was.
TEXT = np.tile(np.array([1, 4, 2, 7, 3, 9, 5], np.uint8), 60)


@pytest.fixture(scope="module")
def network() -> CharRNN:
    return small.network()


@pytest.fixture(scope="module")
def statistics(network: CharRNN) -> Statistics:
    return gradient_statistics(network, Tokens([TEXT]), lanes=4)


def settings(**changes: Any) -> DynamicSettings:
    return DynamicSettings(**{"learning_rate": 0.1, "decay": 0.01, **changes})


def by_the_rule(
    network: CharRNN, text: np.ndarray, own: DynamicSettings, statistics: Statistics
) -> list[float]:
    """Krause et al. (2018), equation by equation."""
    model = copy.deepcopy(network)
    began = [weight.detach().clone() for weight in model.parameters()]
    mean = torch.cat([root.flatten() for root in statistics.roots]).mean()
    state = model.initial_state(1)
    nats = []
    for at in range(0, len(text) - 1, own.segment):
        stop = min(at + own.segment, len(text) - 1)
        inputs = torch.tensor(text[at:stop].tolist())
        targets = torch.tensor(text[at + 1 : stop + 1].tolist())
        logits, state = model(inputs.unsqueeze(1), state.detach())
        costs = functional.cross_entropy(logits[:, 0], targets, reduction="none")
        nats += costs.tolist()
        model.zero_grad()
        costs.mean().backward()
        with torch.no_grad():
            for weight, start, root in zip(
                model.parameters(), began, statistics.roots, strict=True
            ):
                relative = root / mean
                assert weight.grad is not None
                step = own.learning_rate * weight.grad / (relative + _EPSILON)
                back = (own.decay * relative).clamp(max=1) * (start - weight)
                weight.add_(back - step)
    return nats


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_nats_are_those_of_the_rule(cell: str) -> None:
    text = TEXT[:100]
    network = small.network(cell)
    statistics = gradient_statistics(network, Tokens([TEXT]), lanes=4)
    own = settings(learning_rate=1.0)
    found = dynamic_nats(network, text, own, statistics)
    assert math.isnan(found[0])
    wanted = by_the_rule(network, text, own, statistics)
    np.testing.assert_allclose(found[1:], wanted, rtol=2e-4)
    static = dynamic_nats(network, text, settings(learning_rate=0.0))
    assert np.abs(found[1:] - static[1:]).max() > 0.03


@pytest.mark.parametrize("lanes", [1, 3])
def test_no_symbol_is_learnt_before_it_is_scored(
    network: CharRNN, statistics: Statistics, lanes: int
) -> None:
    """What stands behind a symbol changes nothing of its score."""
    own = settings(lanes=lanes)
    whole = dynamic_nats(network, TEXT, own, statistics)
    other = TEXT.copy()
    bounds = lane_bounds(len(TEXT), lanes)
    assert len(bounds) == lanes + 1
    for start, stop in pairwise(bounds):
        other[start + 70 : stop] = 12
    again = dynamic_nats(network, other, own, statistics)
    for start in bounds[:-1]:
        before = slice(start + 1, start + 70)
        np.testing.assert_array_equal(whole[before], again[before])
    assert not np.allclose(whole[1:], again[1:])


@pytest.mark.parametrize("lanes", [1, 4])
def test_without_learning_it_is_the_score_of_the_model(network: CharRNN, lanes: int) -> None:
    nats = dynamic_nats(network, TEXT, settings(learning_rate=0.0, lanes=lanes))
    assert np.isnan(nats).tolist() == [True] + [False] * (len(TEXT) - 1)
    wanted = mean_nats(network, Tokens([TEXT]), lanes)
    assert nats[1:].mean() == pytest.approx(wanted, rel=1e-5)


def test_what_repeats_itself_is_learnt_and_the_model_is_left_alone(
    network: CharRNN, statistics: Statistics
) -> None:
    before = [weight.detach().clone() for weight in network.parameters()]
    nats = dynamic_nats(network, TEXT, settings(learning_rate=1.0, segment=5), statistics)
    still = dynamic_nats(network, TEXT, settings(learning_rate=0.0))
    assert nats[-100:].mean() < 0.7 * still[-100:].mean()
    plain = dynamic_nats(network, TEXT, settings(learning_rate=1.0, rule="sgd"))
    assert plain[-100:].mean() < still[-100:].mean()
    for weight, own in zip(network.parameters(), before, strict=True):
        assert torch.equal(weight, own)


def test_the_best_of_the_tuning_text_is_reported_on_the_other(network: CharRNN) -> None:
    reported = TEXT[3:200]
    result = dynamic_evaluation(
        network,
        Tokens([TEXT]),
        ("val", TEXT[:150]),
        ("test", reported),
        rules=("rms",),
        rates=(1e-3, 0.1, 1e9),
        decays=(0.01,),
    )
    assert result.settings.learning_rate == 0.1
    assert [each.nats for each in result.tried] == sorted(each.nats for each in result.tried)
    assert result.nats < result.static_nats
    assert result.static_nats == pytest.approx(mean_nats(network, Tokens([reported]), 1), rel=1e-5)
    shown = section(result)
    assert shown.table[2][0] == "test, reported"
    assert shown.table[2][2] == f"{result.static_nats / math.log(2):.4f}"
    assert "learning rate 0.1" in shown.lead
    value = json.loads(json.dumps(result.to_json()))
    assert value["tried"][0]["learning_rate"] == 0.1


def test_steps_that_end_in_no_number_come_last(network: CharRNN, statistics: Statistics) -> None:
    tried = tuned(
        network, TEXT[:100], statistics, rules=("sgd",), rates=(1e30, 1e-3), decays=(0.0,)
    )
    assert [each.settings.learning_rate for each in tried] == [1e-3, 1e30]


def test_tuning_on_what_is_reported_is_refused(network: CharRNN) -> None:
    with pytest.raises(InputError, match="tuned on val and reported on val; it needs two splits"):
        dynamic_evaluation(network, Tokens([TEXT]), ("val", TEXT), ("val", TEXT))
    with pytest.raises(InputError, match="test has 1 tokens"):
        dynamic_evaluation(network, Tokens([TEXT]), ("val", TEXT), ("test", TEXT[:1]))
    with pytest.raises(InputError, match="the rule rms needs statistics"):
        dynamic_nats(network, TEXT, settings())
    with pytest.raises(InputError, match="training text has 5 tokens"):
        gradient_statistics(network, Tokens([TEXT[:5]]))


@pytest.mark.parametrize(
    ("name", "value"), [("learning_rate", -1.0), ("decay", math.nan), ("segment", 0), ("lanes", 0)]
)
def test_settings_that_mean_nothing_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^{name} is {value}; it must be"):
        settings(**{name: value})
