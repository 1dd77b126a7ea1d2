"""A thousand C files with twenty that do not belong, and a model of C made by counting pairs.

The model is an RNN whose hidden state is the last symbol, and whose head holds the logarithms of
counted pairs: exactly a bigram model, without a training.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pipeline.corpora.vocab import Vocab, build_vocab, count_symbols, symbols_of
from pipeline.model.about import CorpusReference, ModelAbout
from pipeline.model.artifact import ModelArtifact, artifact_files, check_artifact
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN

_TYPES = ("int", "unsigned long", "struct device *", "const char *", "u32", "size_t")
_VERBS = ("get", "set", "init", "free", "find", "update", "read", "write", "probe", "release")
_NOUNS = ("page", "node", "list", "buffer", "queue", "driver", "clock", "state", "inode", "table")
_FOREIGN = (
    "Der Hund läuft schnell über die Straße und bellt, während Großmutter gemütlich schläft. ",
    "Господин Прохарчин жил в самом тёмном и скромном углу большой квартиры. ",
    "Quand la neige tombe, les oiseaux quittent lentement ce vieux jardin tranquille. ",
)


def c_file(chance: random.Random, size: int) -> bytes:
    """Functions that look like a kernel's, about `size` bytes of them."""
    lines = ["/* SPDX-License-Identifier: GPL-2.0 */", "#include <linux/module.h>", ""]
    while sum(map(len, lines)) < size:
        verb, noun, other = (chance.choice(words) for words in (_VERBS, _NOUNS, _NOUNS))
        kind = chance.choice(_TYPES)
        number = chance.randrange(1 << chance.randrange(1, 16))
        lines += [
            f"static {kind} {noun}_{verb}({chance.choice(_TYPES)} {other}, int flags)",
            "{",
            f"\tif (!{other} || flags & {number:#x})",
            "\t\treturn -EINVAL;",
            f"\tfor (i = 0; i < {number}; i++)",
            f"\t\t{noun}->{other}[i] = {verb}_{other}({noun}, i);",
            "\treturn 0;",
            "}",
            "",
        ]
    return "\n".join(lines).encode()[: max(size, 1)]


def _binary(chance: random.Random, size: int) -> bytes:
    return chance.randbytes(size)


def _encoded(chance: random.Random, size: int) -> bytes:
    return base64.b64encode(chance.randbytes(size))[:size]


def _minified(chance: random.Random, size: int) -> bytes:
    """Script without a space: one letter names, and no lines."""
    text = ""
    while len(text) < size:
        a, b, c = chance.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ$_", k=3)
        number = chance.randrange(99)
        text += f"var {a}={b}.{c}?function({b}){{{c}[{b}]=~{a}^{number}}}:!{number};"
    return text.encode()[:size]


def _language(chance: random.Random, size: int) -> bytes:
    words = chance.choice(_FOREIGN).split()
    chance.shuffle(words)
    return (" ".join(words) * (size // 60 + 1)).encode()[:size]


_KINDS: tuple[Callable[[random.Random, int], bytes], ...] = (
    _binary,
    _encoded,
    _minified,
    _language,
)


def plant(folder: Path, files: int = 1000, planted: int = 20) -> set[str]:
    """Write the files, of 120 bytes to 6 KB; the names of those that do not belong."""
    chance = random.Random(7)
    names = set()
    for number in range(files + planted):
        size = int(120 * 50 ** chance.random())
        name = f"{chance.randrange(1 << 40):010x}-{number}.c"
        if number < files:
            data = c_file(chance, size)
        else:
            data = _KINDS[number % len(_KINDS)](chance, size)
            names.add(name)
        (folder / name).write_bytes(data)
    return names


def model_of_c() -> ModelArtifact:
    """A bigram model of other C files than `plant` writes."""
    chance = random.Random(8)
    text = b"\n".join(c_file(chance, 3000) for _ in range(100))
    vocab = build_vocab(count_symbols(symbols_of(text, "byte")), "byte", 1)
    return bigram(text, vocab)


def bigram(text: bytes, vocab: Vocab) -> ModelArtifact:
    """Pairs of a text, each counted a tenth more often than it is there."""
    size = len(vocab)
    tokens = vocab.encode(text).astype(np.int64)
    counts = np.full((size, size), 0.1)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    logarithms = np.log(counts / counts.sum(axis=1, keepdims=True))
    network = CharRNN(ModelConfig(vocab_size=size, cell="rnn", num_layers=1, hidden_size=size))
    with torch.no_grad():
        for value in network.parameters():
            value.zero_()
        state = network.state_dict()
        # tanh(20) is 1 in float32: the hidden state is 1 for the symbol read, and 0 for all others.
        state["layers.0.weight_ih_l0"].copy_(20 * torch.eye(size))
        state["head.weight"].copy_(torch.from_numpy(logarithms.T))
    about = ModelAbout(
        model=network.config,
        corpus=CorpusReference("c", "0" * 12, "0" * 64),
        first_tokens=(),
        train={},
        step=1,
        metrics={},
    )
    return check_artifact("c", "1", "memory:", artifact_files(network, vocab, about))
