"""From a model's files to an engine, on the processor or on a GPU."""

from __future__ import annotations

from pipeline.engine.engine import Engine
from pipeline.engine.lanes import Writable
from pipeline.engine.weights import Weights
from pipeline.model.about import Precision
from pipeline.model.artifact import ModelArtifact, load_network, load_weights


def open_engine(artifact: ModelArtifact, precision: Precision, *, use_gpu: bool = False) -> Engine:
    """The engine of a model. Raises InputError or DamagedError for files that are no model.

    On a GPU the network runs in float32, whatever the precision. Only there torch is imported.
    """
    if use_gpu:
        from pipeline.engine.cuda import CudaEngine

        network, vocab, about = load_network(artifact.files, artifact.uri)
        return CudaEngine(network, vocab, about.first_tokens)
    loaded = load_weights(artifact.files, artifact.uri)
    weights = Weights(loaded.about.model, loaded.weights, precision)
    return Engine(weights, Writable.of(loaded.vocab, loaded.about.first_tokens))
