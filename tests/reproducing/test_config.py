"""How far a recipe runs."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.reproducing.config import STAGES, ReproduceConfig


def test_a_recipe_runs_to_its_last_stage() -> None:
    assert all(map(ReproduceConfig().runs, STAGES))
    shorter = ReproduceConfig(until="evaluate")
    assert [stage for stage in STAGES if not shorter.runs(stage)] == ["explain"]


@pytest.mark.parametrize("until", ["corpus", "report", 3])
def test_another_end_is_refused(until: Any) -> None:
    with pytest.raises(InputError, match=r"until is .* must be sample, evaluate or explain"):
        ReproduceConfig(until=until)
