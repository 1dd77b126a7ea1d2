"""An untrained model in a registry: what it writes is noise, and that is enough for tests of what is around it."""

from __future__ import annotations

from pipeline import storage
from pipeline.corpora.manifest import open_corpus
from pipeline.registry.publication import publishable
from pipeline.registry.tracking import ModelVersion, Registry
from pipeline.training import checkpoint
from pipeline.training.config import ModelConfig
from pipeline.model.network import CharRNN, initialize


def registered(root: str, size: int, name: str = "texts") -> ModelVersion:
    """Register a model of the root's corpus `texts`, as a run would."""
    corpus = open_corpus(root, "texts")
    network = CharRNN(ModelConfig(vocab_size=len(corpus.vocab), num_layers=1, hidden_size=size))
    initialize(network, 1)
    about = {
        "corpus": {
            "name": corpus.name,
            "version": corpus.version,
            "fingerprint": corpus.fingerprint,
        },
        "first_tokens": corpus.manifest["first_tokens"],
        "train": {"optimizer": "adam", "seed": 1},
        "step": 1,
        "metrics": {
            "val_loss": 4.0 / size,
            "val_bits_per_char": 5.0,
            "val_bits_per_byte": 60.0 / size,
        },
    }
    url = storage.join(root, "runs", f"run-{size}", checkpoint.name(1))
    checkpoint.write(url, checkpoint.artifact_files(network, corpus.vocab, about))
    registry = Registry(root)
    mlflow_id = registry.client.create_run(registry._experiment(name)).info.run_id
    return registry.register(name, mlflow_id, f"run-{size}", publishable(url, name, corpus, root))
