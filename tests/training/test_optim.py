"""Optimisers as configured, learning rates by step and epoch, clipped gradients: exact."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.training.config import TrainConfig
from pipeline.training.group import Group
from pipeline.training.optim import (
    FlatGradient,
    learning_rate,
    make_optimizer,
    parameter_names,
)


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"corpus": "any", "learning_rate": 0.5, **changes})


def flat(*gradient: float, extras: int = 2) -> FlatGradient:
    """The flat gradient of a model with one weight a number given."""
    made = FlatGradient(nn.Linear(len(gradient), 1, bias=False).double(), extras)
    made.gradient.copy_(torch.tensor(gradient, dtype=torch.float64))
    return made


class Doubling(Group):
    """Two ranks that have the same numbers."""

    def sum_often(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.mul_(2)


def test_a_constant_rate_stays() -> None:
    for step, epoch in ((1, 0), (500, 9), (501, 10), (10**6, 99)):
        assert learning_rate(config(), step, epoch, 1000) == 0.5


def test_decay_begins_in_the_epoch_decay_after() -> None:
    decay = config(schedule="decay", decay_rate=0.9, decay_after=10)
    rates = [learning_rate(decay, 77, epoch, 1000) for epoch in (0, 9, 10, 11, 13)]
    assert rates == [0.5, 0.5, 0.5 * 0.9, 0.5 * 0.9**2, 0.5 * 0.9**4]


def test_decay_after_no_epoch_decays_from_the_start() -> None:
    decay = config(schedule="decay", decay_rate=0.5, decay_after=0)
    assert [learning_rate(decay, 1, epoch, 0) for epoch in range(3)] == [0.25, 0.125, 0.0625]


def test_decay_may_wait_some_epochs_between_factors_and_has_a_lowest_rate() -> None:
    decay = config(
        schedule="decay", decay_rate=0.5, decay_after=2, decay_every=3, min_learning_rate=0.1
    )
    rates = [learning_rate(decay, 1, epoch, 0) for epoch in (1, 2, 4, 5, 7, 8, 11)]
    assert rates == [0.5, 0.25, 0.25, 0.125, 0.125, 0.1, 0.1]


@pytest.mark.parametrize("schedule", ["constant", "decay", "cosine"])
def test_every_schedule_warms_up(schedule: str) -> None:
    warm = config(schedule=schedule, warmup_steps=4, decay_after=0, max_steps=100)
    rates = [learning_rate(warm, step, 0, 100) for step in (1, 2, 3, 4)]
    assert rates == [0.125, 0.25, 0.375, 0.5]
    after = learning_rate(warm, 5, 0, 100)
    assert after == 0.5 if schedule == "constant" else 0.4 < after < 0.5


def test_cosine_goes_down_to_the_lowest_rate() -> None:
    cosine = config(schedule="cosine", max_steps=10, min_learning_rate=0.2)
    assert learning_rate(cosine, 10, 0, 10) == pytest.approx(0.2, rel=1e-12)
    assert learning_rate(cosine, 5, 0, 10) == pytest.approx(0.35, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adamw"])
def test_an_optimiser_has_its_constants(optimizer: str) -> None:
    given = config(optimizer=optimizer, beta1=0.7, beta2=0.8, eps=1e-3)
    group = make_optimizer(nn.Linear(2, 1), given).param_groups[0]
    assert group["eps"] == 1e-3
    if optimizer != "rmsprop":
        assert group["betas"] == (0.7, 0.8)


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adamw"])
def test_matrices_alone_decay_when_asked(optimizer: str) -> None:
    """Of a gradient of zeros, decay is all there is."""
    for scope, decays in (("all", True), ("matrices", False)):
        model = nn.Linear(3, 2)
        given = config(optimizer=optimizer, weight_decay=0.1, weight_decay_on=scope)
        made = make_optimizer(model, given)
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        FlatGradient(model, 0)
        made.step()
        assert not torch.equal(model.weight, before["weight"])
        assert torch.equal(model.bias, before["bias"]) is not decays


def test_parameters_are_named_in_the_optimisers_order() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    own = ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert parameter_names(model, make_optimizer(model, config())) == own
    grouped = make_optimizer(model, config(weight_decay_on="matrices"))
    assert parameter_names(model, grouped) == ["0.weight", "1.weight", "0.bias", "1.bias"]


def test_char_rnns_decay_is_the_default() -> None:
    decay = config(schedule="decay")
    rates = [learning_rate(decay, 1, epoch, 0) for epoch in (9, 10, 11)]
    assert rates == [0.5, 0.5 * 0.97, 0.5 * 0.97**2]


def test_cosine_warms_up_and_goes_down_to_a_tenth() -> None:
    cosine = config(schedule="cosine", warmup_steps=4, max_steps=24)
    rates = {step: learning_rate(cosine, step, 0, 24) for step in (1, 2, 3, 4)}
    assert rates == {1: 0.125, 2: 0.25, 3: 0.375, 4: 0.5}
    for step in (5, 9, 14, 19, 23):
        wave = (1 + math.cos(math.pi * (step - 4) / 20)) / 2
        rate = learning_rate(cosine, step, 0, 24)
        assert rate == pytest.approx(0.5 * (0.1 + 0.9 * wave), rel=1e-12)
    assert learning_rate(cosine, 14, 0, 24) == pytest.approx(0.5 * 0.55, rel=1e-12)
    assert learning_rate(cosine, 24, 0, 24) == pytest.approx(0.05, rel=1e-12)
    assert learning_rate(cosine, 30, 0, 24) == pytest.approx(0.05, rel=1e-12)  # does not rise again


def test_cosine_without_warm_up_begins_below_the_rate() -> None:
    cosine = config(schedule="cosine", max_steps=10)
    first = 0.5 * (0.1 + 0.9 * (1 + math.cos(math.pi / 10)) / 2)
    assert learning_rate(cosine, 1, 0, 10) == pytest.approx(first, rel=1e-12)


def test_cosine_that_is_all_warm_up_has_an_end() -> None:
    cosine = config(schedule="cosine", warmup_steps=8, max_steps=8)
    assert learning_rate(cosine, 8, 0, 8) == 0.5
    assert learning_rate(cosine, 9, 0, 8) == pytest.approx(0.05, rel=1e-12)


def test_epochs_do_not_matter_to_cosine_nor_steps_to_decay() -> None:
    cosine = config(schedule="cosine", max_steps=10, decay_after=0)
    assert learning_rate(cosine, 3, 50, 10) == learning_rate(cosine, 3, 0, 10)
    decay = config(schedule="decay", decay_after=2)
    assert learning_rate(decay, 1, 0, 10) == learning_rate(decay, 9, 1, 10) == 0.5


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("rmsprop", torch.optim.RMSprop, {"alpha": 0.8, "foreach": True, "momentum": 0}),
        ("adam", torch.optim.Adam, {"fused": True, "betas": (0.9, 0.999)}),
        ("adamw", torch.optim.AdamW, {"fused": True, "betas": (0.9, 0.999)}),
    ],
)
def test_optimisers_are_as_configured(
    name: str, kind: type[torch.optim.Optimizer], settings: dict[str, Any]
) -> None:
    model = nn.Linear(3, 2)
    made = make_optimizer(model, config(optimizer=name, rms_decay=0.8, weight_decay=0.25))
    assert type(made) is kind
    (group,) = made.param_groups
    assert group["params"] == list(model.parameters())
    wanted = {"lr": 0.5, "weight_decay": 0.25, **settings}
    assert {key: group[key] for key in wanted} == wanted


def test_gradients_are_views_of_one_buffer_in_the_order_of_the_parameters() -> None:
    model = nn.Linear(3, 2).double()
    gradient = FlatGradient(model, extras=2)
    assert (gradient.size, gradient.buffer.dtype) == (8, torch.float64)
    assert gradient.buffer.tolist() == [0.0] * 10
    gradient.buffer.copy_(torch.arange(10.0))
    assert model.weight.grad is not None
    assert model.bias.grad is not None
    assert model.weight.grad.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert model.bias.grad.tolist() == [6.0, 7.0]
    assert gradient.gradient.tolist() == list(range(8))
    assert gradient.extras.tolist() == [8.0, 9.0]
    gradient.zero()
    assert model.weight.grad.abs().sum() == 0
    assert gradient.extras.tolist() == [0.0, 0.0]
    model(torch.ones(3, dtype=torch.float64)).sum().backward()  # is added to the views
    assert gradient.gradient.tolist() == [1.0] * 8


def test_the_buffer_is_where_the_model_is() -> None:
    gradient = FlatGradient(nn.Linear(3, 2, device="meta"), extras=2)
    assert (gradient.buffer.device.type, gradient.buffer.shape) == ("meta", (10,))


def test_the_sum_over_ranks_is_divided_by_all_targets_but_not_what_rides_along() -> None:
    gradient = flat(3.0, 4.0)
    gradient.extras.copy_(torch.tensor([10.0, 1.0]))
    gradient.reduce(Doubling(), 8)
    assert gradient.gradient.tolist() == [0.75, 1.0]
    assert gradient.extras.tolist() == [20.0, 2.0]
    gradient.reduce(Group(), 2)
    assert gradient.gradient.tolist() == [0.375, 0.5]


@pytest.mark.parametrize(
    ("max_norm", "clipped"),
    [(0.0, [3.0, -4.0]), (2.5, [1.5, -2.0]), (5.0, [3.0, -4.0]), (6.0, [3.0, -4.0])],
)
def test_clipped_by_norm(max_norm: float, clipped: list[float]) -> None:
    gradient = flat(3.0, -4.0)
    gradient.extras.fill_(100.0)
    assert gradient.clip(max_norm) == 5.0  # the norm before
    assert gradient.gradient.tolist() == clipped
    assert gradient.extras.tolist() == [100.0, 100.0]


@pytest.mark.parametrize(
    ("max_value", "clipped"), [(3.5, [3.0, -3.5]), (0.5, [0.5, -0.5]), (4.0, [3.0, -4.0])]
)
def test_clipped_by_value(max_value: float, clipped: list[float]) -> None:
    gradient = flat(3.0, -4.0)
    gradient.extras.fill_(100.0)
    assert gradient.clip(0.0, max_value) == 5.0
    assert gradient.gradient.tolist() == clipped
    assert gradient.extras.tolist() == [100.0, 100.0]


@pytest.mark.parametrize(
    ("max_norm", "clipped"),
    [
        (2.5, [1.5, -2.0]),  # the norm that is left is 5: half of it
        (5.0, [3.0, -4.0]),  # exactly what is left
        (6.0, [3.0, -4.0]),  # less is left, though the norm before was more
        (500.0, [3.0, -4.0]),
    ],
)
def test_clipped_by_value_and_then_by_the_norm_that_is_left(
    max_norm: float, clipped: list[float]
) -> None:
    gradient = flat(3.0, -400.0)
    assert gradient.clip(max_norm, 4.0) == math.sqrt(9 + 160_000)
    assert gradient.gradient.tolist() == clipped


def test_what_is_left_may_be_small() -> None:
    gradient = flat(0.3, -40.0)
    gradient.clip(0.25, 0.4)
    assert gradient.gradient.tolist() == pytest.approx([0.15, -0.2], rel=1e-12)


def test_a_gradient_of_zeros_stays() -> None:
    gradient = flat(0.0, 0.0)
    assert gradient.clip(1.0) == 0.0
    assert gradient.clip(1.0, 2.0) == 0.0
    assert gradient.gradient.tolist() == [0.0, 0.0]


def test_char_rnn_clips_by_value_and_not_by_norm() -> None:
    gradient = flat(*torch.linspace(-9, 9, 100).tolist())
    norm = gradient.gradient.norm().item()
    assert gradient.clip(0.0, 5.0) == pytest.approx(norm)
    assert gradient.gradient.abs().max() == 5.0
    gradient.clip(1.0)
    assert gradient.gradient.norm().item() == pytest.approx(1.0, rel=1e-5)
