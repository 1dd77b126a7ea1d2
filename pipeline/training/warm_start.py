"""Start from another model's weights: matched by symbol identity, never by index."""

from __future__ import annotations

from dataclasses import asdict

import torch

from pipeline.corpora.vocab import Vocab
from pipeline.errors import InputError
from pipeline.model.network import CharRNN


def warm_start(
    model: CharRNN, vocab: Vocab, given: CharRNN, given_vocab: Vocab, source: str
) -> int:
    """Copy the weights of `given` into `model`; returns how many symbols they have in common.

    Rows of symbols that `given` does not know keep their fresh initial values. Raises InputError
    when the two differ in more than vocabulary and dropout.
    """
    free = {"vocab_size", "dropout"}
    ours, theirs = asdict(model.config), asdict(given.config)
    if wrong := [
        f"{key} {theirs[key]} (not {ours[key]})"
        for key in ours
        if key not in free and ours[key] != theirs[key]
    ]:
        raise InputError(f"{source} has {', '.join(wrong)}; --init_from needs the same shape.")
    if vocab.unit != given_vocab.unit:
        raise InputError(
            f"{source} knows {given_vocab.unit}s, the corpus has {vocab.unit}s; --init_from needs the same unit."
        )
    index = {symbol: token for token, symbol in enumerate(given_vocab.symbols)}
    pairs = [
        (token, index[symbol]) for token, symbol in enumerate(vocab.symbols) if symbol in index
    ]
    to, of = (
        (torch.tensor(side, dtype=torch.int64) for side in zip(*pairs, strict=True))
        if pairs
        else (torch.empty(0).long(),) * 2
    )
    weights = given.state_dict()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = weights[name].to(parameter)
            if name == "layers.0.weight_ih_l0" and model.embedding is None:
                parameter[:, to] = value[:, of]  # a column a symbol
            elif name.startswith(("embedding.", "head.")):
                parameter[to] = value[of]  # a row a symbol
            else:
                parameter.copy_(value)
    return len(pairs)
