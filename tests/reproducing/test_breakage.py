"""Gates catch breakage: a band from the seeds of healthy small models, and what falls out of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from pipeline.corpora.manifest import Corpus
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, Masks, initialize
from pipeline.reproducing.claims import judge, read_claims

LANES = 32
SEQ_LEN = 32
STEPS = 60
HIDDEN = 48
# Four more than a band must have: of six, the band would be half as wide again, and dropout would
# fall out of it by a hair.
SEEDS = range(1, 11)
NEXT_SEED = 11


def lanes_of(corpus: Corpus, split: str, batches: int) -> torch.Tensor:
    """(tokens, LANES): each lane a stretch of the split."""
    length = batches * SEQ_LEN + 1
    tokens = corpus.open_split(split).read(0, LANES * length)
    return torch.from_numpy(tokens.astype(np.int64)).reshape(LANES, length).T


def trained(corpus: Corpus, seed: int, shuffled: bool = False) -> CharRNN:
    """A small model that read the beginning of the training split, in the order of its lanes."""
    network = CharRNN(
        ModelConfig(vocab_size=len(corpus.vocab), num_layers=1, hidden_size=HIDDEN, dropout=0.0)
    )
    initialize(network, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    text = lanes_of(corpus, "train", STEPS // 3)
    generator = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        at = step % (STEPS // 3) * SEQ_LEN
        inputs = text[at : at + SEQ_LEN]
        targets = text[at + 1 : at + SEQ_LEN + 1].reshape(-1)
        if shuffled:
            targets = targets[torch.randperm(len(targets), generator=generator)]
        logits, _ = network(inputs, network.initial_state(LANES))
        optimizer.zero_grad()
        functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets).backward()
        optimizer.step()
    return network


@torch.no_grad()
def bits(
    network: CharRNN, corpus: Corpus, masks: Masks | None = None, *, zeroed: bool = False
) -> float:
    """Bits per character of held-out text."""
    text = lanes_of(corpus, "val", 8)
    state = network.initial_state(LANES)
    rows = []
    for token in text[:-1]:
        logits, state = network(token.unsqueeze(0), state, masks)
        rows.append(logits[0])
        if zeroed:
            state = network.initial_state(LANES)
    logits = torch.stack(rows)
    loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), text[1:].reshape(-1))
    return loss.item() / float(np.log(2))


def dropped(network: CharRNN, corpus: Corpus) -> float:
    """Dropout of one half, left on."""
    generator = torch.Generator().manual_seed(1)

    def masks(_: int, outputs: torch.Tensor) -> torch.Tensor:
        return 2 * (torch.rand(outputs.shape, generator=generator) < 0.5).to(outputs.dtype)

    return bits(network, corpus, masks)


def mis_scaled(network: CharRNN, corpus: Corpus) -> float:
    """int8 weights, turned into numbers again by a row's neighbour's scale, twice over."""
    broken = CharRNN(network.config)
    weights = dict(network.state_dict())
    for name, weight in weights.items():
        if weight.dim() == 2:
            scale = weight.abs().amax(dim=1, keepdim=True) / 127
            codes = torch.round(weight / scale)
            weights[name] = codes * torch.roll(scale, 1, dims=0) * 2
    broken.load_state_dict(weights)
    return bits(broken, corpus)


BROKEN: dict[str, Callable[[CharRNN, Corpus], float]] = {
    "state zeroed at every character": lambda network, corpus: bits(network, corpus, zeroed=True),
    "dropout left on": dropped,
    "int8 with a wrong scale": mis_scaled,
}


def test_a_band_of_seeds_holds_the_next_one_and_catches_what_is_broken(corpus: Corpus) -> None:
    figures = [bits(trained(corpus, seed), corpus) for seed in SEEDS]
    claim = {
        "name": "as the seeds",
        "measured": "training.bits",
        "comparison": "seeds",
        "expected": figures,
        "must": True,
    }
    claims = read_claims([claim], "small")

    def passes(figure: float) -> bool:
        (judged,) = judge(claims, {"training": {"bits": figure}})
        return not judged.fails_gate

    healthy = trained(corpus, NEXT_SEED)
    assert passes(bits(healthy, corpus))
    found = {name: measure(healthy, corpus) for name, measure in BROKEN.items()}
    found["shuffled targets"] = bits(trained(corpus, NEXT_SEED, shuffled=True), corpus)
    passed = {name: figure for name, figure in found.items() if passes(figure)}
    assert not passed, f"{passed} pass a gate of {figures}"
