"""Untrained models as artifacts: what they write is noise, which is enough to compare bytes."""

from __future__ import annotations

from typing import Any

from pipeline.corpora.vocab import Vocab
from pipeline.model.about import CorpusReference, Lineage, ModelAbout, PrecisionCheck
from pipeline.model.artifact import ModelArtifact, artifact_files, check_artifact
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize

LETTERS = Vocab("byte", [10, *range(32, 127)])


def artifact(
    cell: Any = "lstm",
    *,
    layers: int = 2,
    size: int = 24,
    vocab: Vocab = LETTERS,
    name: str = "noise",
    embedding: int = 0,
    scale: float = 1.0,
) -> ModelArtifact:
    """A network whose weights are `scale` times those that training begins with."""
    config = ModelConfig(
        vocab_size=len(vocab),
        cell=cell,
        num_layers=layers,
        hidden_size=size,
        embedding_size=embedding,
    )
    network = CharRNN(config)
    initialize(network, 1)
    for parameter in network.parameters():
        parameter.data *= scale
    about = ModelAbout(
        model=config,
        corpus=CorpusReference("texts", "0123456789ab", "f" * 64),
        first_tokens=((1, 2), (2, 1)),
        lineage=Lineage(sources=("a.txt",), licence="CC0-1.0", url="https://example.org"),
        sampling=PrecisionCheck("fp32", 65536, 1.25, 1.26),
    )
    return check_artifact(name, "1", "memory", artifact_files(network, vocab, about))
