"""The shape of a model, and the table of its cells: what a new cell needs is a row here and what
the row names.

A new cell needs, besides its row: a torch.nn module of that name (network.py runs it), a function
of that name in engine/step.py (one layer's step for one lane), and its code in that file's
`_step_cell`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

CellName = Literal["lstm", "gru", "rnn"]


@dataclass(frozen=True)
class Cell:
    """What the house must know of a recurrent cell.

    `gates` products of H units each, in torch.nn's order. `states` tensors of H units that one
    layer carries from step to step, the output first. `torch_module` is its class in torch.nn,
    `code` its number in the compiled engine.

    `biases_join`: the input's and the recurrent product's biases can be added to one. GRU's
    candidate multiplies its recurrent product by the reset gate before it is added, so there the
    two stay apart.

    `bounded_output`: the output lies in [-1, 1]. The engine's int8 path has a fixed scale of 1/127
    for activations and needs it; a cell without it can be sampled in fp32 alone.
    """

    gates: int
    states: int
    torch_module: str
    code: int
    biases_join: bool
    bounded_output: bool


CELLS: dict[str, Cell] = {
    "lstm": Cell(4, 2, "LSTM", code=0, biases_join=True, bounded_output=True),
    "gru": Cell(3, 1, "GRU", code=1, biases_join=False, bounded_output=True),
    "rnn": Cell(1, 1, "RNN", code=2, biases_join=True, bounded_output=True),
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a recurrent character model; stored with its weights."""

    vocab_size: int
    cell: CellName = "lstm"
    num_layers: int = 2
    hidden_size: int = 128
    embedding_size: int = 0
    dropout: float = 0.0

    @property
    def traits(self) -> Cell:
        """The row of this model's cell."""
        return CELLS[self.cell]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight by its name: torch.nn's names and layout, one-layer modules
        stacked.

        V vocab, E embedding, H hidden, G gates: weight_ih (G H, inputs), weight_hh (G H, H), biases
        (G H).
        """
        hidden = self.hidden_size
        gates = self.traits.gates * hidden
        shapes: dict[str, tuple[int, ...]] = {}
        if self.embedding_size:
            shapes["embedding.weight"] = (self.vocab_size, self.embedding_size)
        inputs = self.embedding_size or self.vocab_size  # without an embedding the input is one-hot
        for layer in range(self.num_layers):
            shapes[f"layers.{layer}.weight_ih_l0"] = (gates, inputs)
            shapes[f"layers.{layer}.weight_hh_l0"] = (gates, hidden)
            shapes[f"layers.{layer}.bias_ih_l0"] = (gates,)
            shapes[f"layers.{layer}.bias_hh_l0"] = (gates,)
            inputs = hidden
        shapes["head.weight"] = (self.vocab_size, hidden)
        shapes["head.bias"] = (self.vocab_size,)
        return shapes

    @classmethod
    def from_json(cls, value: Any) -> ModelConfig:
        """The config that a model's file holds. ValueError says what is wrong with it."""
        if not isinstance(value, dict):
            raise ValueError("no model section")
        unknown = set(value) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown {', '.join(sorted(map(str, unknown)))}")
        cell = value.get("cell", "lstm")
        # A list, say, cannot be looked up in a table at all.
        if not isinstance(cell, str) or cell not in CELLS:
            raise ValueError(f"cell {cell!r} is none of {', '.join(CELLS)}")
        lowest = {"vocab_size": 1, "num_layers": 1, "hidden_size": 1, "embedding_size": 0}
        for name, low in lowest.items():
            size = value.get(name, low)
            # type(), not isinstance(): true is no size.
            if type(size) is not int or size < low:
                raise ValueError(f"{name} {size!r} is no number of at least {low}")
        if "vocab_size" not in value:
            raise ValueError("no vocab_size")
        return cls(**value)
