from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.errors import InputError
from pipeline.explaining import activations
from pipeline.explaining.activations import SCALE, lanes_of, read_text
from tests.explaining import models, planted

CELLS = ("lstm", "gru", "rnn")


def backwards(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """A runner whose tasks end in the opposite order, through JSON."""
    for index in reversed(range(len(tasks))):
        yield index, json.loads(json.dumps(function(tasks[index])))


@pytest.mark.parametrize("cell", CELLS)
def test_a_text_is_what_the_network_makes_of_it(cell: str) -> None:
    made = planted.network(cell, layers=2)
    text = planted.text(700)
    seen = read_text(planted.artifact(made), text)
    tokens = torch.from_numpy(planted.VOCAB.encode(text).astype(np.int64))
    logits, _ = made(tokens[:, None], made.initial_state(1))
    outputs = functional.one_hot(tokens[:, None], len(planted.VOCAB)).float()
    for layer, module in enumerate(made.layers):
        outputs, _ = module(outputs)
        off = np.abs(seen.hidden[:, layer] * SCALE - outputs[:, 0].detach().numpy())
        assert off.max() <= SCALE / 2 + 1e-5
    nats = functional.cross_entropy(logits[:-1, 0], tokens[1:], reduction="none")
    np.testing.assert_allclose(seen.nats[1:], nats.detach().numpy(), atol=1e-5)
    assert np.isnan(seen.nats[0])
    top = torch.softmax(logits[:, 0], 1).topk(5, dim=1)
    np.testing.assert_allclose(seen.top_probs, top.values.detach().numpy(), atol=1e-6)
    assert (seen.top_ids == top.indices.numpy()).mean() > 0.99  # equal ones in any order
    assert set(seen.signals) == ({"hidden", "cell"} if cell == "lstm" else {"hidden"})
    assert len(seen.histograms) == 2 * len(seen.signals)


@pytest.fixture
def short_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WHOLE": 300, "LANE": 200, "WARM_UP": 50, "LANES_A_TASK": 2}.items():
        monkeypatch.setattr(activations, name, value)
    monkeypatch.setattr(activations, "STRETCH", 64)


def test_lanes_cover_a_text_once_and_warm_up_before(short_lanes: None) -> None:
    lanes = lanes_of(950)
    assert [(lane.start, lane.stop) for lane in lanes][:2] == [(0, 200), (200, 400)]
    assert lanes[-1].stop == 950
    assert [lane.warm_up for lane in lanes] == [0, 50, 50, 50, 50]
    assert len(lanes_of(300)) == 1


@pytest.mark.usefixtures("short_lanes")
def test_the_order_and_number_of_tasks_change_nothing() -> None:
    model = planted.artifact(planted.network("lstm", layers=2))
    text = planted.text(950)
    here = read_text(model, text)
    there = read_text(model, text, backwards)
    for name in ("tokens", "places", "hidden", "cell", "top_ids", "top_probs", "nats"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
    assert here.saturations == there.saturations
    assert len(here.hidden) == 950


@pytest.mark.usefixtures("short_lanes")
def test_a_lane_is_read_from_its_warm_up_on() -> None:
    made = planted.network()
    model = planted.artifact(made)
    text = planted.text(950)
    long = read_text(model, text)
    alone = read_text(model, text[350:600])
    np.testing.assert_allclose(long.hidden[400:600], alone.hidden[50:], atol=1)
    np.testing.assert_allclose(long.nats[401:600], alone.nats[51:], atol=1e-5)


@pytest.mark.usefixtures("short_lanes")
def test_warm_up_and_padding_are_not_counted() -> None:
    seen = read_text(planted.artifact(planted.network()), planted.text(950))
    assert {sum(each.counts) for each in seen.histograms} == {950 * planted.SIZE}


def test_an_untrained_network_has_the_shape_and_not_the_weights() -> None:
    model = planted.artifact(planted.planted())
    text = planted.text(300)
    seen = read_text(model, text, untrained_seed=7)
    again = read_text(model, text, untrained_seed=7)
    np.testing.assert_array_equal(seen.hidden, again.hidden)
    assert seen.hidden.shape == read_text(model, text).hidden.shape
    assert (seen.hidden != read_text(model, text).hidden).any()


def test_symbols_that_the_model_lacks_are_passed_over() -> None:
    seen = read_text(planted.artifact(planted.network()), b"abZc")
    assert seen.places.tolist() == [0, 1, 3]


def test_a_text_of_one_symbol_is_refused() -> None:
    with pytest.raises(InputError, match="1 symbols that planted reads; it needs 2"):
        read_text(planted.artifact(planted.network()), b"a")


def test_an_untrained_network_is_the_same_on_any_number_of_threads() -> None:
    """Workers of a cluster have one thread each, and this process may have more."""
    model = models.artifact("lstm", layers=1, size=256)  # large enough to be shared by threads
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(activations.network_of(model, untrained_seed=1).state_dict())
    finally:
        torch.set_num_threads(before)
    for name, weights in made[0].items():
        assert torch.equal(weights, made[1][name]), name
