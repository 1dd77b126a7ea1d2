from __future__ import annotations

import json

import numpy as np

from pipeline.explaining.gates import BINS, Counts

GATE = np.array(
    [[[0.05, 0.95], [0.5, 0.99], [0.01, 0.9]]]
)  # one layer, three characters, two units
SIGNAL = np.array([[[-1.0, 1.0], [0.0, 0.999], [-0.96, 0.01]]])


def test_saturation_is_a_share_of_time_by_unit() -> None:
    counts = Counts()
    counts.look({"forget": GATE}, {"hidden": SIGNAL})
    (found,) = counts.saturations()
    assert (found.layer, found.gate) == (0, "forget")
    assert found.left == (2 / 3, 0.0)
    assert found.right == (0.0, 2 / 3)


def test_bins_cover_both_ends() -> None:
    counts = Counts()
    counts.look({}, {"hidden": SIGNAL})
    (found,) = counts.histograms()
    assert sum(found.counts) == 6
    assert (found.counts[0], found.counts[BINS // 2], found.counts[-1]) == (2, 2, 2)


def test_counts_add_up_through_json() -> None:
    parts = Counts()
    for at in range(3):
        one = Counts()
        one.look({"input": GATE[:, at : at + 1]}, {"hidden": SIGNAL[:, at : at + 1]})
        parts.add(json.loads(json.dumps(one.to_json())))
    whole = Counts()
    whole.look({"input": GATE}, {"hidden": SIGNAL})
    assert parts.saturations() == whole.saturations()
    assert parts.histograms() == whole.histograms()
    assert json.dumps([each.to_json() for each in whole.saturations()])
    assert json.dumps([each.to_json() for each in whole.histograms()])
