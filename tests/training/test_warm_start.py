"""Warm start: the same symbol keeps its weights, wherever it stands in the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.corpora.vocab import Vocab
from pipeline.errors import InputError
from pipeline.training.config import ModelConfig
from pipeline.model.network import CharRNN, initialize
from pipeline.training.trainer import Trainer
from pipeline.training.warm_start import warm_start
from tests.training.conftest import Kept

OLD, NEW = Vocab("byte", b"abcdxyz"), Vocab("byte", b"bcefz")


def made(vocab: Vocab, seed: int, **changes: int) -> CharRNN:
    model = CharRNN(
        ModelConfig(vocab_size=len(vocab), num_layers=2, hidden_size=6, **changes)
    ).double()  # type: ignore[arg-type]
    initialize(model, seed)
    return model


@pytest.mark.parametrize("embedding_size", [0, 3])
def test_text_of_known_symbols_is_continued_alike(embedding_size: int) -> None:
    old, new = (
        made(OLD, 1, embedding_size=embedding_size),
        made(NEW, 2, embedding_size=embedding_size),
    )
    fresh = made(NEW, 2, embedding_size=embedding_size)
    assert warm_start(new, NEW, old, OLD, "old") == 3
    text = b"bzccb"
    theirs, _ = old(
        torch.from_numpy(OLD.encode(text).astype("int64")).unsqueeze(1), old.initial_state(1)
    )
    ours, _ = new(
        torch.from_numpy(NEW.encode(text).astype("int64")).unsqueeze(1), new.initial_state(1)
    )
    for symbol in b"bcz":
        torch.testing.assert_close(
            ours[..., NEW.symbols.index(symbol)], theirs[..., OLD.symbols.index(symbol)]
        )
    for symbol in b"ef":  # new symbols start as they would have
        row = NEW.symbols.index(symbol)
        assert torch.equal(new.head.weight[row], fresh.head.weight[row])


def test_another_shape_or_unit_is_refused() -> None:
    with pytest.raises(InputError, match=r"hidden_size 6 \(not 7\)"):
        warm_start(
            CharRNN(ModelConfig(vocab_size=5, num_layers=2, hidden_size=7)),
            NEW,
            made(OLD, 1),
            OLD,
            "old",
        )
    with pytest.raises(InputError, match="the same unit"):
        warm_start(made(NEW, 1), NEW, made(OLD, 1), Vocab("char", OLD.symbols), "old")


def test_a_run_starts_where_the_given_model_was(
    make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    from pipeline.training import loop

    kept = Kept()
    first = make_trainer()
    loop.train(first, kept)
    second = make_trainer(seed=9)
    cold = second.evaluate()["val_loss"]
    vocab = first.corpus.vocab
    assert warm_start(second.model, vocab, first.model, vocab, "first") == len(vocab)
    assert second.evaluate()["val_loss"] == first.evaluate()["val_loss"] < cold
