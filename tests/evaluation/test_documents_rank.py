"""Documents that do not belong come first, long and short ones alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.documents import score_documents
from pipeline.evaluation.documents_rank import NEIGHBOURS, ranked, surprise
from tests.evaluation.planted import model_of_c, plant


def test_twenty_planted_files_among_a_thousand_rank_first(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    planted = plant(source)
    result = score_documents(model_of_c(), [str(source)], str(tmp_path / "out"))
    assert result.rows == 1020
    assert {document.path for document in result.worst} == planted
    surprises = [document.surprise for document in result.worst]
    assert surprises == sorted(surprises, reverse=True)
    assert len(planted) == 20


def natural(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths, and bits per byte that are higher and noisier for short documents."""
    random = np.random.default_rng(3)
    sizes = np.exp(random.uniform(4, 12, count)).astype(np.int64)
    figures = 2 + 60 / sizes + random.normal(0, 1, count) * (0.1 + 4 / np.sqrt(sizes))
    return sizes, figures


def test_short_and_long_documents_stand_out_equally_often() -> None:
    sizes, figures = natural(5000)
    scores = surprise(sizes, figures)
    order = np.argsort(sizes)
    short = scores[order[:1000]]
    long = scores[order[-1000:]]
    assert np.std(short) == pytest.approx(np.std(long), rel=0.15)
    assert np.mean(short) == pytest.approx(np.mean(long), abs=0.1)
    # While the figures themselves name short ones alone.
    assert set(np.argsort(-figures)[:50]) <= set(order[:2000])


def test_the_median_is_not_pulled_by_what_is_looked_for() -> None:
    sizes, figures = natural(1000)
    odd = np.argsort(sizes)[-40::2]  # all of them among the longest
    figures[odd] = 7.0
    assert set(ranked(sizes, figures)[:20]) == set(odd)


def test_a_score_is_the_distance_from_the_median_in_robust_deviations() -> None:
    figures = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
    found = surprise(np.arange(5), figures)
    assert found == pytest.approx((figures - 3) / 1.4826)
    assert surprise(np.arange(3), np.array([5.0, 5.0, 5.5]))[2] == pytest.approx(10)
    assert NEIGHBOURS % 2 == 1


def test_documents_without_a_figure_have_no_rank() -> None:
    sizes = np.array([0, 5, 9])
    figures = np.array([np.nan, 2.0, 3.0])
    assert np.isnan(surprise(sizes, figures)[0])
    assert ranked(sizes, figures).tolist() == [2, 1]
    assert ranked(np.zeros(2), np.full(2, np.nan)).tolist() == []
    assert surprise(np.zeros(0), np.zeros(0)).tolist() == []


def test_free_documents_are_alike_too() -> None:
    """A model that is certain of everything costs nothing, and divides by nothing."""
    assert surprise(np.arange(3), np.zeros(3)).tolist() == [0, 0, 0]


def test_rows_in_another_order_have_the_same_scores() -> None:
    sizes, figures = natural(400)
    sizes[:200] = 77
    order = np.random.default_rng(1).permutation(400)
    assert (
        surprise(sizes, figures)[order].tobytes()
        == surprise(sizes[order], figures[order]).tobytes()
    )
