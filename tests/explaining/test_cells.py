from __future__ import annotations

import json

import pytest

from pipeline.errors import InputError
from pipeline.explaining.cells import explain_cells
from tests.explaining import planted

TEXT = planted.text(12_000)


def test_a_unit_that_is_known_to_track_quotes_is_found_first() -> None:
    found = explain_cells(
        planted.artifact(planted.planted()), TEXT, "prose", text_name="planted text"
    )
    best = found.rows[0]
    assert (best.layer, best.unit, best.label) == (0, planted.UNIT, "inside quotes")
    assert best.effect > 0.95
    named = {row.name: row for row in found.named}
    assert named["quotes"].verdict == "found"
    assert named["quotes"].best is not None
    assert named["quotes"].best.unit == planted.UNIT
    assert named["quotes"].text == f"{found.second_half:,} tokens, the second half of planted text"
    assert found.found_units == len(found.rows)
    assert found.share == found.found_units / planted.SIZE
    assert "at most 0.05" in found.definition
    assert (0, planted.UNIT) in {(each.layer, each.unit) for each in found.ablations}
    assert json.loads(json.dumps(found.to_json()))["rows"][0]["unit"] == planted.UNIT


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_other_cells_have_a_hidden_state_alone(cell: str) -> None:
    text = TEXT[:2000]
    found = explain_cells(planted.artifact(planted.network(cell)), text, "prose")
    assert {row.best.signal for row in found.labels} == {"hidden"}
    assert "cell state" not in found.definition
    again = explain_cells(planted.artifact(planted.network(cell)), text, "prose")
    assert found == again


def test_a_wrong_kind_is_refused() -> None:
    with pytest.raises(InputError, match="kind is 'poems'"):
        explain_cells(planted.artifact(planted.network()), TEXT, "poems")
