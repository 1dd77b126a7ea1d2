"""The page of a run: what it shows, and that samples stay text."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.explaining.milestones import Sampled
from pipeline.explaining.page_evolution import evolution_page

RUN = [
    Sampled(step=100, loss=3.25, sample="<script>alert(1)</script>\x00"),
    Sampled(step=1200, loss=2.5, sample="a b c d"),
]


def test_samples_and_losses_by_step() -> None:
    page = evolution_page(RUN, "a b c d", "run <1>").decode()
    assert "<h3>Step 1,200, loss 2.500</h3><pre>a b c d</pre>" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\ufffd" in page
    assert "<script" not in page
    assert "<title>run &lt;1&gt;</title>" in page
    assert page.count("<svg") == 1
    assert "<tr><td>spaces</td><td>1,200</td>" in page


def test_a_run_without_samples_names_the_flag() -> None:
    with pytest.raises(InputError, match="--sample_every"):
        evolution_page([], "text", "run 1")
