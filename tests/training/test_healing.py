"""When numbers are far outside, and what a rollback costs: pure numbers."""

from __future__ import annotations

import json
import math
import random

import pytest

from pipeline.training.healing import FIRST_RATE_FACTOR, RATE_FACTOR, Band, Healing

GUESSING = math.log(90)


def fault(healing: Healing, loss: float, norm: float = 1.0, *, watches: bool = True) -> str:
    return healing.fault(loss, norm, GUESSING, watches=watches)


def settled(mean: float = 1.5, spread: float = 0.05, steps: int = 200) -> Healing:
    """A run whose loss has been about `mean` for a while."""
    chance = random.Random(1)
    healing = Healing()
    for _ in range(steps):
        healing = healing.accepted(mean + chance.uniform(-spread, spread), chance.uniform(0.5, 2))
    return healing


def test_a_band_follows_its_numbers() -> None:
    band = Band()
    for value in [4.0, 2.0] * 400:
        assert band.steps < 20 or band.mean + 1 <= band.limit(1.0, 1.0)
        band = band.after(value)
    assert band.mean == pytest.approx(3, abs=0.05)
    assert band.deviation == pytest.approx(1, abs=0.05)
    assert band.limit(1.0, 1.0) == pytest.approx(13, abs=0.6)
    assert band.limit(20.0, 2.0) == pytest.approx(43, abs=0.6)


def test_a_young_band_limits_nothing() -> None:
    band = Band()
    for _ in range(20):
        assert band.limit(1.0, 1.0) == math.inf
        band = band.after(2.0)
    assert band.limit(1.0, 1.0) == pytest.approx(3)


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]
)
@pytest.mark.parametrize("watches", [True, False])
def test_what_is_no_number_is_always_wrong(loss: float, norm: float, watches: bool) -> None:
    for healing in (Healing(), settled()):
        said = fault(healing, loss, norm, watches=watches)
        assert said == f"loss {loss:.3g}, gradient norm {norm:.3g}"


def test_a_loss_or_norm_far_outside_is_wrong_when_it_is_watched() -> None:
    healing = settled()
    assert fault(healing, 2.4, 20.0) == ""
    assert fault(healing, 0.1, 1e-9) == ""  # whatever falls is welcome
    assert fault(healing, 2.7).startswith("loss 2.7 is far above 1.")
    assert fault(healing, 1.5, 1e4).startswith("gradient norm 1e+04 is far above ")
    assert fault(healing, 2.7, watches=False) == fault(healing, 1.5, 1e4, watches=False) == ""
    noisy = settled(spread=1.0)
    assert fault(noisy, 2.7) == ""
    assert fault(noisy, 7.0) != ""


def test_a_run_starts_about_where_guessing_is_or_where_it_starts() -> None:
    assert fault(Healing(), 50.0, 1e9) == ""
    fresh = Healing().accepted(GUESSING, 1.0)
    assert fault(fresh, GUESSING + 0.9, 1e9) == ""
    assert fault(fresh, GUESSING + 1.1) != ""
    warm = Healing().accepted(8.0, 1.0)  # another kind of text than before
    assert fault(warm, 8.9) == ""
    assert fault(warm, 9.1) != ""


def test_a_rollback_lowers_the_rate_and_most_of_all_at_first() -> None:
    first = Healing().accepted(4.0, 1.0).rolled_back(text_is_hard=False)
    assert (first.rollbacks, first.rate_multiplier) == (1, FIRST_RATE_FACTOR)
    later = settled().rolled_back(text_is_hard=False).rolled_back(text_is_hard=False)
    assert (later.rollbacks, later.rate_multiplier) == (2, RATE_FACTOR**2)
    assert later.widening == 1


def test_a_stretch_of_hard_text_is_one_rollback_and_is_learned_in_the_end() -> None:
    healing = settled()
    steps = 0
    while fault(healing, 9.0):
        healing = healing.rolled_back(text_is_hard=True)
        steps += 1
    assert 2 < steps < 10
    assert (healing.rollbacks, healing.rate_multiplier) == (1, RATE_FACTOR)
    widened = healing.widening
    for _ in range(300):
        healing = healing.accepted(1.5, 1.0)
    assert 1 < healing.widening < 1.02 < widened
    again = healing.rolled_back(text_is_hard=True)
    assert again.rollbacks == 2


def test_weights_that_are_to_blame_count_every_time() -> None:
    healing = settled().rolled_back(text_is_hard=True).rolled_back(text_is_hard=False)
    assert healing.rollbacks == 2


def test_the_bands_go_back_with_the_weights() -> None:
    before = settled(mean=3.0).taken(200)
    after = before
    for _ in range(200):
        after = after.accepted(1.5, 0.1)
    back = after.restored()
    assert (back.loss, back.log_norm, back.snapshot_step) == (before.loss, before.log_norm, 200)
    assert fault(after, 3.0) != ""
    assert fault(back, 3.0) == ""


def test_it_is_json_and_comes_back() -> None:
    healing = settled().rolled_back(text_is_hard=True)
    again = Healing.from_json(json.loads(json.dumps(healing.to_json())))
    assert again == healing
    assert Healing.from_json(Healing().to_json()) == Healing()
    assert settled().accepted(1.0, 0.0).log_norm.mean > -10
