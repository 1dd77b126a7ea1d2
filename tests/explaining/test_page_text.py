"""A text as a model reads it: compared with the engine's own logits, states and scores."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.engine.opening import open_engine
from pipeline.errors import InputError
from pipeline.explaining import page_text
from pipeline.explaining.page_text import CHECKPOINT, Finding, read_text
from tests.engine.small import fed
from tests.explaining.models import LETTERS, artifact

TEXT = b"the quick brown fox jumps over the lazy dog. " * 5


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_states_predictions_and_surprise_are_the_engines(cell: str) -> None:
    model = artifact(cell, scale=2.0)
    read = read_text(model, TEXT, "text")
    engine = open_engine(model, "int8")
    logits = fed(engine, read.tokens[:, None])[:, 0].astype(np.float64)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert (read.top_tokens[:, 0] == chances.argmax(axis=1)).all()
    assert np.allclose(read.top_probabilities, np.sort(chances)[:, :-6:-1], atol=1e-6)
    assert np.isnan(read.nats[0])
    assert read.nats[1:].mean() == pytest.approx(engine.score(read.tokens[:, None]), abs=1e-6)
    assert read.hidden.shape == (2, 24, len(TEXT))
    assert np.abs(read.hidden).max() > 20
    assert len(read.cells) == (-(-len(TEXT) // CHECKPOINT) if cell == "lstm" else 0)


def test_states_are_kept_after_their_symbol_and_cells_before_it() -> None:
    model = artifact(scale=2.0)
    read = read_text(model, TEXT, "text")
    shorter = read_text(model, TEXT[:CHECKPOINT], "text")
    assert (read.hidden[:, :, :CHECKPOINT] == shorter.hidden).all()
    assert not read.cells[0].any()
    assert read.cells[1].any()


def test_a_text_that_is_too_long_or_empty_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_text, "MAX_SYMBOLS", 10)
    with pytest.raises(InputError, match=r"a\.txt has 11 symbols; a page shows 1 to 10"):
        read_text(artifact(), b"x" * 11, "a.txt")
    with pytest.raises(InputError, match="has 0 symbols"):
        read_text(artifact(), b"", "a.txt")


def test_a_vocabulary_of_fewer_symbols_than_are_shown() -> None:
    few = type(LETTERS)("byte", [97, 98, 99])
    assert read_text(artifact(vocab=few), b"abca", "text").top_tokens.shape == (4, 3)


def test_a_finding_without_figures_is_json() -> None:
    nan = float("nan")
    row = Finding(label="a", layer=0, unit=1, measure="AUROC", effect=0.5, low=nan, high=nan)
    assert row.to_json()["low"] is None
    assert row.to_json()["effect"] == 0.5
