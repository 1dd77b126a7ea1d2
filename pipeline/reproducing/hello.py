"""The post's first figure: four letters, three hidden units, "hell" to "ello".

A network learns the four transitions one letter at a time through `step(x)`, beside min-char-rnn's
own arithmetic (Karpathy 2015: forward, backward, Adagrad, gradients clipped to +-5) on the same
weights: both lose the same. The letter l has two successors, so only the state can tell them apart.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from pipeline.evaluation import plots
from pipeline.evaluation.section import Section
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize

LETTERS = "helo"
INPUTS = "hell"
TARGETS = "ello"
HIDDEN = 3
CLIP = 5.0
_TINY = 1e-8  # of min-char-rnn's Adagrad


@dataclass(frozen=True)
class Transition:
    """A letter, the letter that follows, and the scores of all four letters (LETTERS' order) before
    training, after one update, and at the end.
    """

    letter: str
    target: str
    first: tuple[float, ...]
    after_one: tuple[float, ...]
    last: tuple[float, ...]

    @property
    def is_learned(self) -> bool:
        return LETTERS[int(np.argmax(self.last))] == self.target


@dataclass(frozen=True)
class Hello:
    """What came out. Losses are sums over the four letters, in nats, before each update;
    `without_state` are the scores behind an l of a zero state.
    """

    transitions: tuple[Transition, ...]
    losses: tuple[float, ...]
    min_char_rnn: tuple[float, ...]
    without_state: tuple[float, ...]

    @property
    def learned(self) -> int:
        return sum(each.is_learned for each in self.transitions)

    def to_json(self) -> dict[str, Any]:
        rows = [asdict(each) | {"is_learned": each.is_learned} for each in self.transitions]
        return {
            "transitions": rows,
            "learned": self.learned,
            "losses": list(self.losses),
            "min_char_rnn": list(self.min_char_rnn),
            "without_state": list(self.without_state),
        }


def hello(steps: int = 500, seed: int = 1, learning_rate: float = 0.1) -> Hello:
    """Train for so many updates, at least one."""
    config = ModelConfig(
        vocab_size=len(LETTERS), cell="rnn", num_layers=1, hidden_size=HIDDEN, dropout=0.0
    )
    network = CharRNN(config).double()
    initialize(network, seed)
    # torch.nn has two biases that add up, min-char-rnn has one: the second would double its step.
    network.get_parameter("layers.0.bias_hh_l0").requires_grad_(False)
    beside = _min_char_rnn(_weights(network), steps, learning_rate)
    learned: list[torch.Tensor] = [each for each in network.parameters() if each.requires_grad]
    memory = [torch.zeros_like(each) for each in learned]
    scores = [_scores(network)]
    losses = []
    for _ in range(steps):
        losses.append(_update(network, learned, memory, learning_rate))
        scores.append(_scores(network))
    transitions = tuple(
        Transition(letter, target, *(tuple(scores[at][place]) for at in (0, 1, -1)))
        for place, (letter, target) in enumerate(zip(INPUTS, TARGETS, strict=True))
    )
    alone, _ = network.step(_token("l"), network.initial_state(1))
    return Hello(transitions, tuple(losses), beside, tuple(alone[0].tolist()))


def sections(found: Hello) -> list[Section]:
    head = (
        "letter",
        "next",
        *(
            f"{letter}, {when}"
            for when in ("first", "after one update", "last")
            for letter in LETTERS
        ),
    )
    rows = [head]
    for each in found.transitions:
        figures = (*each.first, *each.after_one, *each.last)
        rows.append((each.letter, each.target, *(f"{figure:.2f}" for figure in figures)))
    lead = f"Scores (logits) of each letter. {found.learned} of {len(TARGETS)} are learned."
    alone = ", ".join(
        f"{letter} {score:.2f}" for letter, score in zip(LETTERS, found.without_state, strict=True)
    )
    updates = [float(at) for at in range(len(found.losses))]
    curves = {
        "step(x)": (updates, list(found.losses)),
        "min-char-rnn": (updates, list(found.min_char_rnn)),
    }
    return [
        Section(title='"hell" to "ello"', lead=lead, table=tuple(rows)),
        Section(
            title="The two l's",
            lead=f"Of a zero state an l has one answer for both places: {alone}. The state that "
            "h and e left behind is all that tells the first l from the second.",
        ),
        Section(
            title="Loss beside min-char-rnn's",
            lead="In nats for four letters, from the same weights.",
            plots=(plots.lines(curves, "update", "loss"),),
        ),
    ]


def _token(letter: str) -> torch.Tensor:
    return torch.tensor([LETTERS.index(letter)])


def _logits(network: CharRNN) -> torch.Tensor:
    """The scores of the four letters, one `step` each: (4, V)."""
    state = network.initial_state(1)
    rows = []
    for letter in INPUTS:
        logits, state = network.step(_token(letter), state)
        rows.append(logits[0])
    return torch.stack(rows)


def _scores(network: CharRNN) -> list[list[float]]:
    with torch.no_grad():
        scores: list[list[float]] = _logits(network).tolist()
    return scores


def _update(
    network: CharRNN, learned: list[torch.Tensor], memory: list[torch.Tensor], rate: float
) -> float:
    """One update of Adagrad; the loss before it."""
    targets = torch.cat([_token(letter) for letter in TARGETS])
    loss = functional.cross_entropy(_logits(network), targets, reduction="sum")
    gradients = torch.autograd.grad(loss, learned)
    with torch.no_grad():
        for weight, gradient, squares in zip(learned, gradients, memory, strict=True):
            clipped = gradient.clamp(-CLIP, CLIP)
            squares.add_(clipped * clipped)
            weight.sub_(rate * clipped / torch.sqrt(squares + _TINY))
    return loss.item()


def _weights(network: CharRNN) -> list[np.ndarray]:
    """Wxh (H, V), Whh (H, H), bh (H,), Why (V, H), by (V,), as copies."""
    names = [f"layers.0.{name}" for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")]
    tensors = network.state_dict()
    return [tensors[name].numpy().copy() for name in (*names, "head.weight", "head.bias")]


def _min_char_rnn(weights: list[np.ndarray], steps: int, rate: float) -> tuple[float, ...]:
    """The losses of min-char-rnn: its loop, by hand in NumPy."""
    memory = [np.zeros_like(weight) for weight in weights]
    losses = []
    for _ in range(steps):
        loss, gradients = _loss_and_gradients(*weights)
        losses.append(loss)
        for weight, gradient, squares in zip(weights, gradients, memory, strict=True):
            clipped = np.clip(gradient, -CLIP, CLIP)
            np.add(squares, clipped * clipped, out=squares)
            np.subtract(weight, rate * clipped / np.sqrt(squares + _TINY), out=weight)
    return tuple(losses)


def _loss_and_gradients(
    wxh: np.ndarray, whh: np.ndarray, bh: np.ndarray, why: np.ndarray, by: np.ndarray
) -> tuple[float, list[np.ndarray]]:
    """min-char-rnn's lossFun on "hello", from a zero state."""
    size = len(LETTERS)
    inputs = np.eye(size)[[LETTERS.index(letter) for letter in INPUTS]]  # (T, V)
    targets = [LETTERS.index(letter) for letter in TARGETS]
    hidden = [np.zeros(len(bh))]  # hidden[t] is the state before letter t
    errors = []  # dy: probabilities, less one at the target
    loss = 0.0
    for x, target in zip(inputs, targets, strict=True):
        hidden.append(np.tanh(wxh @ x + whh @ hidden[-1] + bh))
        scores = why @ hidden[-1] + by
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        loss -= float(np.log(shares[target]))
        shares[target] -= 1
        errors.append(shares)
    gradients = [np.zeros_like(weight) for weight in (wxh, whh, bh, why, by)]
    later = np.zeros(len(bh))
    for at in reversed(range(len(INPUTS))):
        below = why.T @ errors[at] + later
        raw = (1 - hidden[at + 1] ** 2) * below
        parts = (
            np.outer(raw, inputs[at]),
            np.outer(raw, hidden[at]),
            raw,
            np.outer(errors[at], hidden[at + 1]),
            errors[at],
        )
        for gradient, part in zip(gradients, parts, strict=True):
            np.add(gradient, part, out=gradient)
        later = whh.T @ raw
    return loss, gradients
