from __future__ import annotations

import numpy as np
import pytest

from pipeline.explaining import effects
from pipeline.explaining.labels.label import Label

DRAWS = np.random.default_rng(5)
UNIT = DRAWS.integers(-20, 20, 300).astype(np.int8)  # many ties
ON = Label("on", "binary", (DRAWS.random(300) < 0.3 + UNIT / 100).astype(np.float32))
NUMBER = Label("number", "real", (UNIT + DRAWS.integers(-30, 30, 300)).astype(np.float32))


def brute_force(values: np.ndarray, on: np.ndarray) -> float:
    pairs = [(a > b) + (a == b) / 2 for a in values[on > 0] for b in values[on == 0]]
    return float(np.mean(pairs))


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    expected = brute_force(UNIT, ON.values)
    ranked = effects.ranks(UNIT)
    assert effects.effect("binary", ranked, effects.target(ON)) == pytest.approx(expected)
    assert effects.all_figures(UNIT[None], [ON, NUMBER])[0, 0] == pytest.approx(expected)


def test_a_number_is_correlated_by_ranks() -> None:
    expected = np.corrcoef(effects.ranks(UNIT), effects.ranks(NUMBER.values))[0, 1]
    found = effects.effect("real", effects.ranks(UNIT), effects.target(NUMBER))
    assert found == pytest.approx(expected)
    assert effects.all_figures(UNIT[None], [ON, NUMBER])[0, 1] == pytest.approx(expected)


def test_ranks_of_bytes_are_ranks() -> None:
    assert effects.ranks(np.array([3, 1, 3, 2])).tolist() == [3.5, 1, 3.5, 2]
    np.testing.assert_array_equal(effects.ranks_of_bytes(UNIT), effects.ranks(UNIT))


def test_a_unit_that_never_moves_tells_nothing() -> None:
    still = np.zeros(300, np.int8)
    assert effects.all_figures(still[None], [ON, NUMBER])[0].tolist() == [0.5, 0.0]


def test_a_figure_is_turned_by_the_sign_found() -> None:
    assert effects.scaled("binary", 0.2, -1) == 0.8
    assert effects.scaled("binary", 0.2, 1) == 0.2
    assert effects.scaled("real", -0.4, -1) == 0.4


def test_an_interval_holds_the_effect_and_shrinks_with_text() -> None:
    def width(size: int) -> float:
        draws = np.random.default_rng(3)
        on = (draws.random(size) < 0.4).astype(np.float64)
        ranked = effects.ranks(on + draws.normal(size=size))
        asked = effects.Asked("binary", ranked, on, 1)
        (found,) = effects.intervals([asked], size)
        assert found is not None
        assert found.low < effects.effect("binary", ranked, on) < found.high
        return found.high - found.low

    assert width(80_000) < 0.6 * width(12_000)


def test_an_interval_of_the_other_direction_is_turned_too() -> None:
    ranked = np.arange(12_000.0)
    wanted = effects.ranks(DRAWS.normal(size=12_000) * 3000 - ranked)
    (found,) = effects.intervals([effects.Asked("real", ranked, wanted, -1)], 12_000)
    assert found is not None
    assert 0 < found.low < found.high


def test_too_few_blocks_have_no_interval() -> None:
    asked = effects.Asked("binary", effects.ranks(UNIT), effects.target(ON), 1)
    assert effects.intervals([asked], 300) == [None]
    assert effects.intervals([], 300) == []


def test_an_interval_stays_where_a_figure_can_be() -> None:
    # The blocks differ much, and the label lies in one of them, as a single long quotation does.
    rising = np.arange(12_000.0)
    on = (rising >= 11_000).astype(np.float64)
    for sign, ranked in ((1, rising), (-1, rising[::-1])):
        (found,) = effects.intervals([effects.Asked("binary", ranked, on, sign)], len(on))
        assert found is not None
        assert 0 <= found.low <= found.high <= 1
