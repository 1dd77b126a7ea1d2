"""Untrained models in a registry: what they write is noise, and that is enough for tests of what is
around them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.model.about import CorpusReference, ModelAbout
from pipeline.model.artifact import artifact_files
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize
from pipeline.registry.models import SETTINGS_TAG, Models, ModelVersion
from pipeline.registry.publication import publishable
from pipeline.registry.tracking import Tracking

SETTINGS = "0123456789ab"  # a digest of settings, as training.config.settings_digest gives it
_template = tempfile.TemporaryDirectory()  # of `with_database`; it goes with the process


def untrained(corpus: Corpus, size: int) -> dict[str, bytes]:
    """The three files of a model of a corpus, with figures that are better the larger it is."""
    network = CharRNN(ModelConfig(vocab_size=len(corpus.vocab), num_layers=1, hidden_size=size))
    initialize(network, 1)
    about = ModelAbout(
        model=network.config,
        corpus=CorpusReference(corpus.name, corpus.version, corpus.fingerprint),
        first_tokens=corpus.manifest.first_tokens,
        train={"optimizer": "adam", "seed": 1},
        step=1,
        metrics={
            "val_loss": 4.0 / size,
            "val_bits_per_char": 5.0,
            "val_bits_per_byte": 60.0 / size,
        },
    )
    return artifact_files(network, corpus.vocab, about)


def checkpoint(root: str, size: int) -> str:
    """A complete checkpoint of the root's corpus `texts`, in the run run-SIZE; its URL."""
    url = storage.join(runs.run_url(root, f"run-{size}"), runs.checkpoint_name(1))
    runs.write_checkpoint(url, untrained(open_corpus(root, "texts"), size))
    return url


def registered(root: str, size: int, name: str = "texts") -> ModelVersion:
    """Register a model of the root's corpus `texts`, as a run would."""
    corpus = open_corpus(root, "texts")
    tracking = Tracking(root)
    run = tracking.client.create_run(tracking.experiment(name))
    files = publishable(checkpoint(root, size), name, corpus, root)
    tags = {SETTINGS_TAG: SETTINGS}
    return Models(tracking).register(name, run.info.run_id, f"run-{size}", files, tags)


def with_database(root: str) -> str:
    """Give a root an empty MLflow database, and return it.

    MLflow makes one by running all its migrations, which takes seconds; here that happens once a
    session, and others are copies.
    """
    if not Path(_template.name, "mlflow.db").exists():
        Tracking(_template.name).client.search_registered_models()
    Path(root).mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(_template.name, "mlflow.db"), Path(root, "mlflow.db"))
    return root
