"""Settings of an evaluation: what does not fit is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.evaluation.config import EvaluateConfig


def test_models_are_listed_in_order_the_main_one_first() -> None:
    assert EvaluateConfig(model="a", models=" b, c@x ,").references == ("a", "b", "c@x")
    assert EvaluateConfig(model="a").references == ("a",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "dev"}, "split is 'dev'; it must be val, test, train."),
        ({"split": "val", "text": "x.txt"}, "text and split are both given"),
        ({"max_bytes": -1}, "max_bytes is -1; it must be at least 0."),
        ({"warm_bytes": -1}, "warm_bytes is -1"),
        ({"ngram_bytes": -1}, "ngram_bytes is -1"),
        ({"num_workers": 0}, "num_workers is 0; it must be at least 1."),
        ({"max_order": 0}, "max_order is 0; it must be from 1 to 20."),
        ({"max_order": 21}, "max_order is 21"),
        ({"models": "b,m"}, "models m, b, m name one twice; name each once."),
        ({"precision": "int4"}, "precision is 'int4'"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        EvaluateConfig(model="m", **settings)
    assert str(refused.value).startswith(message)


def test_the_ends_of_ranges_are_taken() -> None:
    config = EvaluateConfig(
        model="m", max_order=20, warm_bytes=0, ngram_bytes=0, num_workers=1, split="test"
    )
    assert (config.max_order, config.split) == (20, "test")
    assert EvaluateConfig(model="m", max_order=1).max_order == 1
