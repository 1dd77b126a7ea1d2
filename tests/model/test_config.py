from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest

from pipeline.model.config import CELLS, Cell, ModelConfig
from pipeline.model.network import CharRNN


def test_the_table_of_cells() -> None:
    table = {
        "lstm": Cell(
            gates=4,
            states=2,
            torch_module="LSTM",
            code=0,
            biases_join=True,
            bounded_output=True,
        ),
        "gru": Cell(
            gates=3,
            states=1,
            torch_module="GRU",
            code=1,
            biases_join=False,
            bounded_output=True,
        ),
        "rnn": Cell(
            gates=1,
            states=1,
            torch_module="RNN",
            code=2,
            biases_join=True,
            bounded_output=True,
        ),
    }
    assert table == CELLS


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_traits_are_the_row_of_the_cell(cell: Any) -> None:
    assert ModelConfig(vocab_size=3, cell=cell).traits is CELLS[cell]


def test_defaults() -> None:
    assert asdict(ModelConfig(vocab_size=9)) == {
        "vocab_size": 9,
        "cell": "lstm",
        "num_layers": 2,
        "hidden_size": 128,
        "embedding_size": 0,
        "dropout": 0.0,
    }


def test_a_config_is_frozen_and_named() -> None:
    config = ModelConfig(vocab_size=9)
    with pytest.raises(FrozenInstanceError):
        config.vocab_size = 10  # type: ignore[misc]
    with pytest.raises(TypeError):
        ModelConfig(9)  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        CELLS["lstm"].code = 7  # type: ignore[misc]


def test_shapes_of_one_hot_input() -> None:
    config = ModelConfig(vocab_size=5, cell="gru", num_layers=2, hidden_size=7)
    assert config.shapes() == {
        "layers.0.weight_ih_l0": (21, 5),
        "layers.0.weight_hh_l0": (21, 7),
        "layers.0.bias_ih_l0": (21,),
        "layers.0.bias_hh_l0": (21,),
        "layers.1.weight_ih_l0": (21, 7),
        "layers.1.weight_hh_l0": (21, 7),
        "layers.1.bias_ih_l0": (21,),
        "layers.1.bias_hh_l0": (21,),
        "head.weight": (5, 7),
        "head.bias": (5,),
    }


def test_shapes_of_an_embedding() -> None:
    config = ModelConfig(vocab_size=5, cell="rnn", num_layers=1, hidden_size=7, embedding_size=3)
    assert config.shapes() == {
        "embedding.weight": (5, 3),
        "layers.0.weight_ih_l0": (7, 3),
        "layers.0.weight_hh_l0": (7, 7),
        "layers.0.bias_ih_l0": (7,),
        "layers.0.bias_hh_l0": (7,),
        "head.weight": (5, 7),
        "head.bias": (5,),
    }


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding", [0, 1, 4])
@pytest.mark.parametrize("layers", [1, 3])
def test_shapes_are_the_networks(cell: Any, embedding: int, layers: int) -> None:
    config = ModelConfig(
        vocab_size=6, cell=cell, num_layers=layers, hidden_size=5, embedding_size=embedding
    )
    state = CharRNN(config).state_dict()
    assert config.shapes() == {name: tuple(value.shape) for name, value in state.items()}


def test_json_gives_the_config_back() -> None:
    config = ModelConfig(
        vocab_size=1, cell="rnn", num_layers=1, hidden_size=1, embedding_size=2, dropout=0.5
    )
    assert ModelConfig.from_json(asdict(config)) == config
    assert ModelConfig.from_json({"vocab_size": 1}) == ModelConfig(vocab_size=1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "no model section"),
        ([["vocab_size", 5]], "no model section"),
        ({}, "no vocab_size"),
        ({"cell": "gru"}, "no vocab_size"),
        ({"vocab_size": 5, **dict.fromkeys("zbyaxcw", 1)}, "unknown a, b, c, w, x, y, z"),
        ({"vocab_size": 5, 7: 1}, "unknown 7"),
        ({"vocab_size": 5, "cell": "GRU"}, "cell 'GRU' is none of lstm, gru, rnn"),
        ({"vocab_size": 5, "cell": ["lstm"]}, "cell ['lstm'] is none of lstm, gru, rnn"),
        ({"vocab_size": 5, "cell": None}, "cell None is none of lstm, gru, rnn"),
        ({"vocab_size": 0}, "vocab_size 0 is no number of at least 1"),
        ({"vocab_size": 5, "num_layers": 0}, "num_layers 0 is no number of at least 1"),
        ({"vocab_size": 5, "hidden_size": 0}, "hidden_size 0 is no number of at least 1"),
        ({"vocab_size": 5, "embedding_size": -1}, "embedding_size -1 is no number of at least 0"),
        ({"vocab_size": True}, "vocab_size True is no number of at least 1"),
        ({"vocab_size": 5, "hidden_size": 8.0}, "hidden_size 8.0 is no number of at least 1"),
        ({"vocab_size": "5"}, "vocab_size '5' is no number of at least 1"),
    ],
)
def test_json_that_is_no_config_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        ModelConfig.from_json(value)
    assert str(caught.value) == message
