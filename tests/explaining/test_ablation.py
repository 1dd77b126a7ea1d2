from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pipeline.explaining.ablation import RANDOM_UNITS, WARM_UP, Target, ablate, tracked_places
from pipeline.explaining.labels.by_kind import labels_of
from pipeline.explaining.labels.label import Label
from pipeline.model.network import CharRNN
from tests.explaining import planted

TEXT = planted.text(2000)
TOKENS = planted.VOCAB.encode(TEXT)
QUOTED = next(label for label in labels_of(TEXT, "prose", "byte") if label.name == "inside quotes")
MEANS = np.zeros((1, planted.SIZE))


def reader() -> CharRNN:
    """The planted network with a head that reads the planted unit alone, for one token."""
    made = planted.planted()
    with torch.no_grad():
        made.head.weight.zero_()
        made.head.bias.zero_()
        (space,) = planted.VOCAB.encode(" ").tolist()
        made.head.weight[space, planted.UNIT] = 2.0
    return made


def test_a_unit_that_alone_is_read_costs_and_others_cost_nothing() -> None:
    (found,) = ablate(reader(), TOKENS, MEANS, [Target(0, planted.UNIT, QUOTED)], seed=1)
    assert abs(found.tracked) > 0.01
    assert len(found.random_tracked) == planted.SIZE - 1
    assert max(map(abs, found.random_tracked + found.random_elsewhere)) < 1e-6
    assert (found.layer, found.unit, found.label) == (0, planted.UNIT, "inside quotes")
    assert found.tokens == len(TOKENS) - 1 - WARM_UP
    assert found.as_large in (0.0, 1.0)  # the others are all alike
    assert json.dumps(found.to_json())


def test_the_change_is_that_of_a_network_without_the_unit() -> None:
    """At a mean of 0, holding the unit is cutting it out of the head."""
    made = reader()
    (found,) = ablate(made, TOKENS, MEANS, [Target(0, planted.UNIT, QUOTED)], seed=1)
    nats = []
    for network in (made, reader()):
        if network is not made:
            with torch.no_grad():
                network.head.weight.zero_()
        ids = torch.from_numpy(TOKENS.astype(np.int64))
        logits, _ = network(ids[:-1, None], network.initial_state(1))
        cost = torch.nn.functional.cross_entropy(logits[:, 0], ids[1:], reduction="none")
        nats.append(cost.detach().numpy()[WARM_UP:])
    places = tracked_places(QUOTED)[WARM_UP:-1]
    assert found.tracked_tokens == places.sum()
    assert found.tracked == pytest.approx((nats[1] - nats[0])[places].mean(), abs=1e-4)
    assert found.elsewhere == pytest.approx((nats[1] - nats[0])[~places].mean(), abs=1e-4)


def test_rivals_are_of_the_same_layer_and_of_the_seed() -> None:
    made = planted.network("gru", layers=2, size=40)
    means = np.zeros((2, 40))
    targets = [Target(0, 1, QUOTED), Target(1, 2, QUOTED), Target(1, 3, QUOTED)]
    found = ablate(made, TOKENS[:200], means, targets, seed=1)
    assert [len(each.random_tracked) for each in found] == [RANDOM_UNITS] * 3
    assert found[1].random_elsewhere != found[0].random_elsewhere
    assert ablate(made, TOKENS[:200], means, targets, seed=1) == found
    assert ablate(made, TOKENS[:200], means, targets, seed=2) != found


def test_what_is_tracked() -> None:
    on = Label("on", "binary", np.array([0, 0, 1, 1, 0, 0], np.float32))
    assert tracked_places(on).tolist() == [False, True, True, True, False, False]
    number = Label("number", "real", np.array([0, 1, 2, 3, 0, 1, 0, 1], np.float32))
    assert np.flatnonzero(tracked_places(number)).tolist() == [2, 3, 5]


def test_nothing_to_hold_is_nothing() -> None:
    assert ablate(reader(), TOKENS, MEANS, [], seed=1) == ()
