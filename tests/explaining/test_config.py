"""Settings of an explanation."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.explaining.config import ExplainConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "dev"}, "split is 'dev'"),
        ({"text": "a.txt", "split": "val"}, "text and split are both given"),
        ({"kind": "latx"}, "kind is 'latx'.*latex"),
        ({"page_bytes": 0}, "page_bytes is 0; it must be at least 1"),
        ({"num_workers": 0}, "num_workers is 0"),
        ({"finder_bytes": -1}, "finder_bytes is -1"),
        ({"play": True, "evolution": "x"}, "play and evolution are both given"),
    ],
)
def test_what_means_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExplainConfig(model="texts", **settings)


def test_without_a_finder_is_a_setting() -> None:
    assert ExplainConfig(model="texts", finder_bytes=0).finder_bytes == 0
