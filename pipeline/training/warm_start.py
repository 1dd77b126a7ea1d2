"""Start from another model's weights: matched by symbol identity, never by index."""

from __future__ import annotations

from dataclasses import asdict

import torch

from pipeline.corpora.vocab import Vocab
from pipeline.errors import InputError
from pipeline.model.network import CharRNN

_MAY_DIFFER = {"vocab_size", "dropout"}  # of two models' configs


def warm_start(
    model: CharRNN, vocab: Vocab, donor: CharRNN, donor_vocab: Vocab, source: str
) -> int:
    """Copy the weights of `donor` into `model`; returns how many symbols they have in common.

    Rows of symbols that the donor does not know keep their fresh initial values. Raises InputError,
    naming `source`, when the two differ in more than vocabulary and dropout.
    """
    _check_same_shape(model, donor, source)
    if vocab.unit != donor_vocab.unit:
        raise InputError(
            f"{source} knows {donor_vocab.unit}s, the corpus has {vocab.unit}s; "
            "--init_from needs the same unit."
        )
    pairs = _shared_tokens(vocab, donor_vocab)
    own_tokens = torch.tensor([own for own, _ in pairs], dtype=torch.int64)
    donor_tokens = torch.tensor([theirs for _, theirs in pairs], dtype=torch.int64)
    weights = donor.state_dict()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = weights[name].to(parameter)
            is_one_hot_input = name == "layers.0.weight_ih_l0" and model.embedding is None
            if is_one_hot_input:
                parameter[:, own_tokens] = value[:, donor_tokens]  # a column a symbol
            elif name.startswith(("embedding.", "head.")):
                parameter[own_tokens] = value[donor_tokens]  # a row a symbol
            else:
                parameter.copy_(value)
    return len(pairs)


def _check_same_shape(model: CharRNN, donor: CharRNN, source: str) -> None:
    ours = asdict(model.config)
    theirs = asdict(donor.config)
    different = [
        f"{key} {theirs[key]} (not {ours[key]})"
        for key in ours
        if key not in _MAY_DIFFER and ours[key] != theirs[key]
    ]
    if different:
        raise InputError(f"{source} has {', '.join(different)}; --init_from needs the same shape.")


def _shared_tokens(vocab: Vocab, donor_vocab: Vocab) -> list[tuple[int, int]]:
    """Of each symbol that both vocabularies have: its token in ours, and in the donor's."""
    donor_token = {symbol: token for token, symbol in enumerate(donor_vocab.symbols)}
    return [
        (token, donor_token[symbol])
        for token, symbol in enumerate(vocab.symbols)
        if symbol in donor_token
    ]
