"""The recurrent core: stacked one-layer LSTM, GRU or RNN cells over characters, and a linear head.

Follows char-rnn (Karpathy 2015): one-hot or embedded input, dropout between layers and before the
head, forget-gate bias 1. Shapes: B lanes, T time, V vocab, H hidden, L layers, S tensors of state a
layer (LSTM 2: hidden and cell).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from pipeline.model.config import ModelConfig
from pipeline.model.recurrence import Workspace, gather, lstm

# Given the layer below (0 is the first layer's output) and outputs (T, B, H), the scaled dropout
# mask.
Masks = Callable[[int, torch.Tensor], torch.Tensor]


class CharRNN(nn.Module):
    """A character-level recurrent language model.

    Layers are separate one-layer modules, so that cuDNN's kernels are kept and dropout is ours. On
    the CPU, LSTMs run through recurrence.py.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = None
        if config.embedding_size:
            self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        above_first = [config.hidden_size] * (config.num_layers - 1)
        sizes = [config.embedding_size or config.vocab_size, *above_first]
        layer = getattr(nn, config.traits.torch_module)
        self.layers = nn.ModuleList(layer(size, config.hidden_size) for size in sizes)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self._workspaces = [Workspace() for _ in sizes]

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def initial_state(self, lanes: int) -> torch.Tensor:
        """A zero state, (L, S, B, H)."""
        config = self.config
        shape = (config.num_layers, config.traits.states, lanes, config.hidden_size)
        return torch.zeros(shape, dtype=self.head.weight.dtype, device=self.head.weight.device)

    def forward(
        self, tokens: torch.Tensor, state: torch.Tensor, masks: Masks | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """tokens (T, B) and state (L, S, B, H) to logits (T, B, V) and the next state."""
        # oneDNN's LSTM behind torch.nn runs at about half the speed of the processor's product;
        # ours does not.
        ours = self.config.cell == "lstm" and tokens.device.type == "cpu"
        outputs = tokens if ours else self._inputs(tokens)
        states = []
        for index in range(len(self.layers)):
            run_layer = self._lstm if ours else self._torch_layer
            outputs, carried = run_layer(index, outputs, state[index])
            states.append(carried)
            if masks is not None:
                outputs = outputs * masks(index, outputs)  # (T, B, H)
        return self.head(outputs), torch.stack(states)

    def _inputs(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the first layer reads: (T, B, E), or one-hot (T, B, V)."""
        if self.embedding is not None:
            embedded: torch.Tensor = self.embedding(tokens)
            return embedded
        return functional.one_hot(tokens, self.config.vocab_size).to(self.head.weight.dtype)

    def _lstm(
        self, index: int, inputs: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One LSTM layer on the CPU.

        `inputs` are tokens (T, B) for the first layer, outputs of the layer below (T, B, H) for the
        others.
        """
        weight, recurrent, bias_ih, bias_hh = self.layers[index].parameters()  # torch.nn's order
        workspace = self._workspaces[index]
        bias = bias_ih + bias_hh
        if inputs.is_floating_point():
            projected = functional.linear(inputs, weight, bias)  # (T, B, 4H)
        else:
            # A table of the input products of all symbols (V, 4H), laid out row by row.
            columns: torch.Tensor = weight
            if self.embedding is not None:
                columns = weight @ self.embedding.weight.t()
            table = (columns + bias.unsqueeze(1)).t().contiguous()
            projected = gather(table, inputs, workspace)
        outputs, cell = lstm(projected, state[0], state[1], recurrent, workspace)
        return outputs, torch.stack([outputs[-1], cell])

    def _torch_layer(
        self, index: int, inputs: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One layer by torch.nn: inputs (T, B, E or H) and state (S, B, H) to outputs (T, B, H) and
        the next state.
        """
        if len(state) == 2:  # an LSTM's, which torch.nn takes as a pair of (1, B, H)
            before = (state[0:1].contiguous(), state[1:2].contiguous())
            outputs, (hidden, cell) = self.layers[index](inputs, before)
            return outputs, torch.cat([hidden, cell])
        outputs, after = self.layers[index](inputs, state)
        return outputs, after

    def step(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One character for each lane, as `rnn.step` in the post: tokens (B,) to logits (B, V) and
        the next state.
        """
        logits, state = self(x.unsqueeze(0), state)
        return logits[0], state


def initialize_uniform(model: CharRNN, seed: int) -> None:
    """Draw a network's weights as char-rnn does: all within 0.08 of zero, then LSTM forget-gate
    bias 1.
    """
    generator = torch.Generator().manual_seed(seed)
    size = model.config.hidden_size
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.uniform_(-0.08, 0.08, generator=generator)
            if model.config.cell == "lstm" and "bias_ih" in name:
                parameter[size : 2 * size] = 1.0


def initialize(model: CharRNN, seed: int) -> None:
    """Draw a network's weights; they depend on the seed alone, and the global generator is left
    alone.

    Glorot input weights (N(0, 1) for one-hot inputs, whose fan-in is 1), orthogonal recurrent
    weights (Saxe et al. 2013), zero biases, LSTM forget-gate bias 1 (Jozefowicz et al. 2015).
    """
    generator = torch.Generator().manual_seed(seed)
    size = model.config.hidden_size
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:
                parameter.zero_()
                if model.config.cell == "lstm" and "bias_ih" in name:
                    parameter[size : 2 * size] = 1.0
            elif "weight_hh" in name:
                for gate in parameter.view(model.config.traits.gates, size, size):
                    nn.init.orthogonal_(gate, generator=generator)
            elif name == "layers.0.weight_ih_l0" and model.embedding is None:
                # A one-hot input has a fan-in of 1. Glorot by the vocabulary's size came out far
                # worse (docs/design.md).
                parameter.normal_(generator=generator)
            elif "weight_ih" in name:
                bound = math.sqrt(6 / (parameter.shape[1] + size))
                parameter.uniform_(-bound, bound, generator=generator)
            elif "embedding" in name:
                parameter.normal_(generator=generator)
            else:
                bound = 1 / math.sqrt(size)
                parameter.uniform_(-bound, bound, generator=generator)
