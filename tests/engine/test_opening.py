"""From a model's files to an engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.corpora.vocab import Vocab
from pipeline.engine import cuda
from pipeline.engine.engine import engine_of
from pipeline.engine.opening import open_engine
from pipeline.errors import DamagedError
from pipeline.model.about import CorpusReference, ModelAbout
from pipeline.model.artifact import WEIGHTS, ModelArtifact, artifact_files, check_artifact
from pipeline.model.network import CharRNN
from tests.engine.small import FIRST_TOKENS, VOCAB, network

NETWORK = network("gru", embedding=3)
ABOUT = ModelAbout(
    model=NETWORK.config,
    corpus=CorpusReference("texts", "1", "1f"),
    first_tokens=FIRST_TOKENS,
)
FILES = artifact_files(NETWORK, VOCAB, ABOUT)


def artifact(files: dict[str, bytes]) -> ModelArtifact:
    return check_artifact("name", "1", "models:/name/1", files)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_files_engine_is_the_networks(precision: Any) -> None:
    opened = open_engine(artifact(FILES), precision)
    wanted = engine_of(NETWORK, VOCAB, FIRST_TOKENS, precision)
    assert opened.weights.precision == precision
    assert opened.weights.config == NETWORK.config
    assert opened.writable.vocab == VOCAB
    assert opened.writable.lowest == 0
    np.testing.assert_array_equal(opened.writable.first_counts, wanted.writable.first_counts)
    for ours, theirs in zip(opened.weights.arrays, wanted.weights.arrays, strict=True):
        pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("use_gpu", [False, True])
def test_files_that_are_no_model_are_refused_by_their_place(use_gpu: bool) -> None:
    files = {**FILES, WEIGHTS: b"\x80\x04N."}
    with pytest.raises(DamagedError, match=r"^models:/name/1/weights\.safetensors is not"):
        open_engine(artifact(files), "fp32", use_gpu=use_gpu)


def test_a_gpu_gets_the_network_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(cuda, "CudaEngine", lambda *arguments: given.append(arguments) or "made")
    opened: Any = open_engine(artifact(FILES), "int8", use_gpu=True)
    assert opened == "made"
    ((model, vocab, first_tokens),) = given
    assert isinstance(model, CharRNN)
    assert model.config == NETWORK.config
    assert isinstance(vocab, Vocab)
    assert (vocab, first_tokens) == (VOCAB, FIRST_TOKENS)
