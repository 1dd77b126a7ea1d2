"""Warm start: the same symbol keeps its weights, wherever it stands in the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.corpora.vocab import Vocab
from pipeline.errors import InputError
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize
from pipeline.training import loop
from pipeline.training.trainer import Trainer
from pipeline.training.warm_start import warm_start
from tests.training.conftest import Kept

OLD = Vocab("byte", b"abcdxyz")
NEW = Vocab("byte", b"bcefz")


def made(vocab: Vocab, seed: int, **changes: Any) -> CharRNN:
    shape = {"num_layers": 2, "hidden_size": 6, **changes}
    model = CharRNN(ModelConfig(vocab_size=len(vocab), **shape)).double()
    initialize(model, seed)
    return model


def read(model: CharRNN, vocab: Vocab, text: bytes) -> torch.Tensor:
    """Logits (T, 1, V) of a text."""
    tokens = torch.from_numpy(vocab.encode(text).astype("int64")).unsqueeze(1)
    logits, _ = model(tokens, model.initial_state(1))
    return logits


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding_size", [0, 3])
def test_text_of_known_symbols_is_continued_alike(embedding_size: int, cell: str) -> None:
    old = made(OLD, 1, embedding_size=embedding_size, cell=cell)
    new = made(NEW, 2, embedding_size=embedding_size, cell=cell)
    fresh = made(NEW, 2, embedding_size=embedding_size, cell=cell)
    assert warm_start(new, NEW, old, OLD, "old") == 3
    text = b"bzccb"
    theirs = read(old, OLD, text)
    ours = read(new, NEW, text)
    for symbol in b"bcz":
        torch.testing.assert_close(
            ours[..., NEW.symbols.index(symbol)], theirs[..., OLD.symbols.index(symbol)]
        )
    inputs = {0: "layers.0.weight_ih_l0", 3: "embedding.weight"}[embedding_size]
    for symbol in b"ef":  # new symbols start as they would have
        token = NEW.symbols.index(symbol)
        for name in ("head.weight", "head.bias"):
            assert torch.equal(new.state_dict()[name][token], fresh.state_dict()[name][token])
        ours_in = new.state_dict()[inputs]
        fresh_in = fresh.state_dict()[inputs]
        if not embedding_size:  # a column a symbol
            ours_in = ours_in.t()
            fresh_in = fresh_in.t()
        assert torch.equal(ours_in[token], fresh_in[token])


def test_models_without_a_symbol_in_common_share_their_layers() -> None:
    other = Vocab("byte", b"mn")
    old = made(OLD, 1)
    new = made(other, 2)
    fresh = made(other, 2)
    assert warm_start(new, other, old, OLD, "old") == 0
    assert torch.equal(new.head.weight, fresh.head.weight)
    name = "layers.1.weight_ih_l0"
    assert torch.equal(new.state_dict()[name], old.state_dict()[name])


def test_the_donor_keeps_its_weights_and_may_have_another_type() -> None:
    old = made(OLD, 1).float()
    before = {name: value.clone() for name, value in old.state_dict().items()}
    new = made(NEW, 2)
    warm_start(new, NEW, old, OLD, "old")
    assert new.head.weight.dtype == torch.float64
    new.head.weight.data.zero_()
    for name, value in old.state_dict().items():
        assert torch.equal(value, before[name])


def test_dropout_may_differ() -> None:
    assert warm_start(made(OLD, 1, dropout=0.5), OLD, made(OLD, 2), OLD, "old") == 7


def test_another_shape_is_refused() -> None:
    wide = made(NEW, 1, hidden_size=7, num_layers=3)
    with pytest.raises(InputError) as caught:
        warm_start(wide, NEW, made(OLD, 1), OLD, "models:/old/1")
    assert str(caught.value) == (
        "models:/old/1 has num_layers 2 (not 3), hidden_size 6 (not 7); "
        "--init_from needs the same shape."
    )
    with pytest.raises(InputError, match=r"has cell lstm \(not gru\);"):
        warm_start(made(NEW, 1, cell="gru"), NEW, made(OLD, 1), OLD, "old")


def test_another_unit_is_refused() -> None:
    chars = Vocab("char", OLD.symbols)
    with pytest.raises(InputError) as caught:
        warm_start(made(NEW, 1), NEW, made(OLD, 1), chars, "old")
    assert str(caught.value) == (
        "old knows chars, the corpus has bytes; --init_from needs the same unit."
    )


def test_a_run_starts_where_the_given_model_was(make_trainer: Callable[..., Trainer]) -> None:
    first = make_trainer()
    loop.train(first, Kept())
    second = make_trainer(seed=9)
    cold = second.evaluate()["val_loss"]
    vocab = first.corpus.vocab
    assert warm_start(second.model, vocab, first.model, vocab, "first") == len(vocab)
    assert second.evaluate()["val_loss"] == first.evaluate()["val_loss"] < cold
