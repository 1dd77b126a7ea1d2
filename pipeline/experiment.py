"""One training run from end to end: Ray Train, the journal published to MLflow, the best checkpoint registered."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.corpora.retention import START
from pipeline.errors import InputError
from pipeline.publication import publishable
from pipeline.registry import RUN_TAG, ModelVersion, Registry, fetch_model
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
    """Train, register the best checkpoint as the next version of model `name`, and let the champion rule decide.

    A run that was asked to stop is not registered; it can be resumed.
    """
    from pipeline.training.trainer import run_training

    run_id = config.resume or new_run_id()
    run_url = storage.join(root, "runs", run_id)
    registry = Registry(root)
    if not config.resume:
        config = _prepare(config, root, run_url, name, corpus)
    mlflow_id = registry.start_run(name, run_id, config, corpus)
    log.info("run %s: %s", run_id, run_url)
    publisher = Publisher(registry, mlflow_id, run_url)
    publisher.start()
    status = "FAILED"
    try:
        result = run_training(config, root, run_id, name, corpus, preview)
        status = "KILLED" if result["stopped"] else "FINISHED"
    finally:
        publisher.stop()
        with told("the run's end"):
            registry.end_run(mlflow_id, status)
    about = {"run_id": run_id, "run": run_url, "mlflow_run_id": mlflow_id, "tracking_uri": registry.uri,
             "corpus": f"{corpus.name}@{corpus.version}", **result}  # fmt: skip
    if result["stopped"]:
        return about
    best = checkpoint.best(run_url)
    if best is None:
        raise InputError(f"run {run_id} has no evaluated checkpoint to register; train longer.")
    files = publishable(storage.join(run_url, best), name, corpus, root)
    version = registry.register(name, mlflow_id, run_id, files)
    promoted = promote_if_better(registry, version, corpus, config.eval_lanes)
    storage.write_json(storage.join(run_url, RUN), {"model": version.uri, "mlflow_run_id": mlflow_id, **result})
    return {**about, "model": version.uri, "champion": promoted, **_figures(version)}


def _prepare(config: TrainConfig, root: str, run_url: str, name: str, corpus: Corpus) -> TrainConfig:
    """Write what the run starts with: start.json, and the model that it starts from. Returns the settings resolved."""
    from pipeline.training.trainer import INIT

    if config.init_from:
        model = fetch_model(config.init_from, root)
        config = dataclasses.replace(config, init_from=model.uri)
        checkpoint.write(storage.join(run_url, INIT), model.files)
    identity = {"name": corpus.name, "version": corpus.version, "fingerprint": corpus.fingerprint}
    start = {"format": 1, "corpus": identity, "recipe": name, "config": dataclasses.asdict(config)}
    storage.write_json(storage.join(run_url, START), start)
    return config


def preview(trainer: Any, num_chars: int) -> bytes:
    """A sample of a model in training, the same whenever its step is reached."""
    from pipeline.sampling.engine import Engine, Request

    engine = Engine(trainer.model, trainer.corpus.vocab, trainer.corpus.manifest["first_tokens"])
    request = Request(trainer.step, num_chars, temperature=0.8, seed=trainer.config.seed)
    return engine.sample([request])[0]


def _figures(version: ModelVersion) -> dict[str, float]:
    return {key: float(version.tags[key]) for key in ("val_loss", "val_bits_per_byte")}


def ensure_trained(config: TrainConfig, root: str, name: str, corpus: Corpus) -> dict[str, Any]:
    """`run_experiment`, unless a version of the model with these settings and this corpus version is registered."""
    registry = Registry(root)
    version = registry.trained(name, config, corpus)
    if version is None:
        return run_experiment(config, root, name, corpus)
    run_url = storage.join(root, "runs", version.tags[RUN_TAG])
    log.info("model %s: %s was trained with these settings on this corpus", name, version.uri)
    return {"run": run_url, "model": version.uri, "tracking_uri": registry.uri, **_figures(version)}


def promote_if_better(registry: Registry, challenger: ModelVersion, corpus: Corpus, eval_lanes: int) -> bool:
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
        theirs = score_on(registry, champion, corpus, eval_lanes)
    ours = float(challenger.tags["val_bits_per_byte"])
    log.info("%s: %.4f bits per byte; champion %s: %.4f", challenger.uri, ours, champion.uri, theirs)
    if not ours < theirs:  # so that a figure that is not a number never wins
        return False
    registry.promote(challenger)
    return True


def score_on(registry: Registry, version: ModelVersion, corpus: Corpus, lanes: int) -> float:
    """A registered model's bits per byte on a corpus version's val split; infinite where its vocabulary lacks a symbol."""
    from pipeline.corpora.shards import Tokens

    model, vocab, _ = checkpoint.load_model(registry.fetch(version), version.uri)
    tokens = corpus.open_split("val")
    if vocab != corpus.vocab:
        try:
            tokens = Tokens([vocab.encode(corpus.vocab.decode(tokens.read(0, len(tokens))))])
        except ValueError:  # a symbol the model does not know, or bytes that are no text to a model of characters
            return float("inf")
    return bits_per_byte(split_loss(model, tokens, lanes), len(tokens), corpus.bytes_in("val"))


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Go on when the tracking server cannot be told something: the files of a run are the truth."""
    try:
        yield
    except Exception as error:  # requests', SQLAlchemy's and MLflow's own
        log.warning("the tracking server was not told of %s: %s", what, str(error).split("\n")[0])


class Publisher(threading.Thread):
    """Sends rows of a run's journal to MLflow while it trains: each once, when a checkpoint has made it final."""

    def __init__(self, registry: Registry, mlflow_id: str, run_url: str) -> None:
        super().__init__(daemon=True, name="journal-publisher")
        self.registry, self.mlflow_id, self.run_url = registry, mlflow_id, run_url
        self.published = registry.published_step(mlflow_id)
        self.seen = ""
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
        with told("new metrics"):
            newest = (checkpoint.complete(self.run_url) or [""])[-1]
            if newest == self.seen:
                return
            final = checkpoint.step_of(newest)
            rows = journal.rows(storage.read_bytes(storage.join(self.run_url, checkpoint.METRICS)))
            self.registry.log_rows(self.mlflow_id, [row for row in rows if self.published < row["step"] <= final])
            self.published, self.seen = final, newest
