from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.explaining import effects
from pipeline.explaining.findings import LEVEL, Pairs
from pipeline.explaining.labels.label import Label

DRAWS = np.random.default_rng(6)
ON = (DRAWS.random(400) < 0.5).astype(np.float32)
LABEL = Label("on", "binary", ON)
OTHER = Label("number", "real", DRAWS.normal(size=400).astype(np.float32))


def pairs(**changes: Any) -> Pairs:
    """Two signals of one layer of two units: rows 0, 1 are hidden, 2, 3 are cell.

    Row 1 tells LABEL backwards, row 3 tells it better: both are of unit 1.
    """
    series = DRAWS.normal(0, 20, (4, 400))
    series[1] = np.where(ON > 0, -40, 0) + DRAWS.normal(0, 20, 400)
    series[3] = np.where(ON > 0, 90, 0)
    series = series.clip(-127, 127).astype(np.int8)
    figures = effects.all_figures(series, [LABEL, OTHER])
    given = {
        "names": ["hidden", "cell"],
        "shape": (1, 2),
        "series": series,
        "second": [LABEL, OTHER],
        "first_figures": figures,
        "figures": figures,
        "p": np.where(np.arange(8).reshape(4, 2) % 2 == 0, LEVEL, 0.9),
        "ngrams": [0.6, 0.1],
        "untrained": [0.7, 0.1],
    }
    return Pairs(**{**given, **changes})


def test_a_unit_stands_once_with_its_best_signal() -> None:
    (finding,) = pairs().findings()
    assert (finding.layer, finding.unit, finding.signal, finding.sign) == (0, 1, "cell", 1)
    assert finding.effect == pytest.approx(1)
    assert finding.excess == pytest.approx((1 - 0.7) / 0.05)


def test_a_label_that_is_told_backwards_counts_too() -> None:
    finding = pairs().pair(1, 0)
    assert (finding.unit, finding.signal, finding.sign, finding.counts) == (1, "hidden", -1, True)
    assert finding.effect > 0.85


def test_the_direction_is_the_first_half_s() -> None:
    turned = pairs(first_figures=1 - pairs().figures).pair(3, 0)
    assert (turned.sign, turned.effect, turned.counts) == (-1, pytest.approx(0), False)


@pytest.mark.parametrize(
    "changes",
    [
        {"p": np.full((4, 2), LEVEL + 0.001)},
        {"ngrams": [0.96, 0.1]},
        {"untrained": [0.96, 0.1]},
    ],
    ids=["p", "ngram", "untrained"],
)
def test_each_condition_alone_can_refuse(changes: dict[str, Any]) -> None:
    assert pairs(**changes).findings() == ()


def test_a_label_s_row_has_the_best_that_counts_and_else_the_best() -> None:
    first, second = pairs().label_results()
    assert (first.label, first.units, first.best.signal) == ("on", 1, "cell")
    assert first.mean == pytest.approx(ON.mean())
    assert (second.label, second.units, second.best.counts) == ("number", 0, False)
    only_hidden = np.ones((4, 2))
    only_hidden[1, 0] = LEVEL
    assert pairs(p=only_hidden).label_results()[0].best.signal == "hidden"
