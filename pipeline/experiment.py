"""One training run from end to end: Ray Train, the journal published to MLflow, the best checkpoint registered."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from typing import Any

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.registry import RUN_TAG, ModelVersion, Registry
from pipeline.training import checkpoint, journal
from pipeline.training.config import TrainConfig
from pipeline.training.preflight import RUN
from pipeline.training.scoring import bits_per_byte, split_loss

log = logging.getLogger("unreasonable")

PUBLISH_EVERY_S = 3.0


def new_run_id() -> str:
    """Time and chance: sorts by age, never meets another."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def run_experiment(config: TrainConfig, root: str, name: str, corpus: Corpus) -> dict[str, Any]:
    """Train, register the best checkpoint as the next version of model `name`, and let the champion rule decide."""
    from pipeline.training.trainer import run_training

    run_id = config.resume or new_run_id()
    run_url = storage.join(root, "runs", run_id)
    registry = Registry(root)
    mlflow_id = registry.start_run(name, run_id, config, corpus)
    log.info("run %s: %s", run_id, run_url)
    publisher = Publisher(registry, mlflow_id, storage.join(run_url, checkpoint.METRICS))
    publisher.start()
    status = "FAILED"
    try:
        result = run_training(config, root, run_id, name)
        status = "FINISHED"
    finally:
        publisher.stop()
        registry.end_run(mlflow_id, status)
    best = checkpoint.best(run_url)
    if best is None:
        raise InputError(f"run {run_id} has no evaluated checkpoint to register; train longer.")
    version = registry.register(name, mlflow_id, storage.join(run_url, best))
    promoted = promote_if_better(registry, version, corpus)
    storage.write_json(storage.join(run_url, RUN), {"model": version.uri, "mlflow_run_id": mlflow_id, **result})
    figures = {key: float(version.tags[key]) for key in ("val_loss", "val_bits_per_byte")}
    return {
        "run_id": run_id,
        "run": run_url,
        "mlflow_run_id": mlflow_id,
        "tracking_uri": registry.uri,
        "model": version.uri,
        "champion": promoted,
        "corpus": f"{corpus.name}@{corpus.version}",
        **figures,
        **result,
    }


def ensure_trained(config: TrainConfig, root: str, name: str, corpus: Corpus) -> dict[str, Any]:
    """`run_experiment`, unless a version of the model with these settings and this corpus version is registered."""
    registry = Registry(root)
    version = registry.trained(name, config, corpus)
    if version is None:
        return run_experiment(config, root, name, corpus)
    run_url = storage.join(root, "runs", version.tags[RUN_TAG])
    log.info("model %s: %s was trained with these settings on this corpus", name, version.uri)
    figures = {key: float(version.tags[key]) for key in ("val_loss", "val_bits_per_byte")}
    return {"run": run_url, "model": version.uri, "tracking_uri": registry.uri, **figures}


def promote_if_better(registry: Registry, challenger: ModelVersion, corpus: Corpus) -> bool:
    """Move the champion alias to the challenger when it has fewer val_bits_per_byte on this corpus version's val split.

    A champion of another version is scored on the same text; with a tail split, whose val text is another stretch in
    every version, only models of one version compare.
    """
    champion = registry.champion(challenger.name)
    if champion is None:
        registry.promote(challenger)
        return True
    theirs = float(champion.tags["val_bits_per_byte"])
    if champion.tags["corpus_fingerprint"] != corpus.fingerprint:
        if corpus.manifest["split"] == "tail":
            log.info("champion %s learned another version of the corpus, whose tail split does not compare", champion.uri)
            return False
        theirs = score_on(registry, champion, corpus)
    ours = float(challenger.tags["val_bits_per_byte"])
    log.info("%s: %.4f bits per byte; champion %s: %.4f", challenger.uri, ours, champion.uri, theirs)
    if ours >= theirs:
        return False
    registry.promote(challenger)
    return True


def score_on(registry: Registry, version: ModelVersion, corpus: Corpus, lanes: int = 32) -> float:
    """A registered model's bits per byte on a corpus version's val split; infinite where its vocabulary lacks a symbol."""
    from pipeline.corpora.shards import Tokens

    model, vocab, _ = checkpoint.load_model(registry.fetch(version), version.uri)
    tokens = corpus.open_split("val")
    if vocab != corpus.vocab:
        try:
            tokens = Tokens([vocab.encode(corpus.vocab.decode(tokens.read(0, len(tokens))))])
        except InputError:
            return float("inf")
    return bits_per_byte(split_loss(model, tokens, lanes), len(tokens), corpus.bytes_in("val"))


class Publisher(threading.Thread):
    """Sends new rows of a run's journal to MLflow while it trains, each once."""

    def __init__(self, registry: Registry, mlflow_id: str, url: str) -> None:
        super().__init__(daemon=True, name="journal-publisher")
        self.registry, self.mlflow_id, self.url = registry, mlflow_id, url
        self.published = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(PUBLISH_EVERY_S):
            self._publish()

    def stop(self) -> None:
        """Send what is left, then end."""
        self.ended.set()
        self.join()
        self._publish()

    def _publish(self) -> None:
        if not storage.exists(self.url):
            return
        rows = journal.rows(storage.read_bytes(self.url))
        try:
            self.registry.log_rows(self.mlflow_id, rows[self.published :])
            self.published = len(rows)
        except Exception as error:  # the journal is the truth; a tracking server that is away must not end a run
            log.warning("metrics are not published yet: %s", str(error).splitlines()[0])
