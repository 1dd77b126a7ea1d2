"""An evaluation before anything is computed: models, text and training text, all checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.engine.opening import open_engine
from pipeline.errors import InputError
from pipeline.evaluation import compressors, plots
from pipeline.evaluation.compressors import COMPRESSORS, CompressorTask
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.intervals import Blocks
from pipeline.evaluation.ngrams import NgramTask
from pipeline.evaluation.scores import LaneTask, Reading, lane_tasks, reading
from pipeline.evaluation.texts import Text, text_of_split, text_of_url, training_text
from pipeline.model.about import Precision
from pipeline.model.artifact import WEIGHTS, ModelArtifact
from pipeline.registry.fetch import fetch_model

Task = LaneTask | CompressorTask | NgramTask


@dataclass(frozen=True)
class PlannedModel:
    """A model to score: what it is called in reports, and the text as it reads it."""

    name: str
    artifact: ModelArtifact
    precision: Precision
    unit: str
    vocab_size: int
    read: Reading


@dataclass(frozen=True)
class Plan:
    """What an evaluation will do. `corpus` is where training text is from, None without any."""

    config: EvaluateConfig
    models: tuple[PlannedModel, ...]
    text: Text
    split: str
    corpus: Corpus | None
    train: bytes
    output: str

    @property
    def blocks(self) -> Blocks:
        return Blocks.of(len(self.text.data))

    @property
    def ngram_train(self) -> bytes:
        return self.train[max(0, len(self.train) - self.config.ngram_bytes) :]

    def to_json(self) -> dict[str, Any]:
        models = [
            {
                "model": model.name,
                "precision": model.precision,
                "lanes": model.read.lanes,
                "unknown": model.read.unknown.to_json(),
            }
            for model in self.models
        ]
        return {
            "models": models,
            "text": self.text.origin.to_json(),
            "training_bytes": len(self.train),
            "output": self.output,
        }

    def lane_tasks(self) -> list[list[LaneTask]]:
        """By model, the tasks that score it."""
        workers = self.config.num_workers
        return [
            lane_tasks(model.artifact, model.precision, model.read, workers)
            for model in self.models
        ]

    def baseline_tasks(self) -> tuple[list[CompressorTask], list[NgramTask]]:
        """What is computed beside the models. Without training text there are no n-grams."""
        if not self.config.baselines:
            return [], []
        warm = self.train[max(0, len(self.train) - self.config.warm_bytes) :]
        packed = [CompressorTask(name, warm, self.text.data) for name in COMPRESSORS]
        if not self.ngram_train:
            return packed, []
        blocks = self.blocks.block_bytes
        order = self.config.max_order
        return packed, [NgramTask(self.ngram_train, self.text.data, order, blocks)]


def prepare(config: EvaluateConfig, root: str) -> Plan:
    """Fetch models and texts, and refuse what cannot be evaluated. Writes nothing."""
    plots.check_installed()
    if config.baselines:
        compressors.check_installed()
    artifacts = [fetch_model(reference, root) for reference in config.references]
    corpus = _corpus(config, artifacts[0], root)
    split = "" if config.text else config.split or "val"
    if config.text:
        text = text_of_url(config.text, config.max_bytes)
    else:
        assert corpus is not None
        text = text_of_split(corpus, split, config.max_bytes)
    names = _names(config.references, artifacts)
    models = tuple(
        _planned(name, artifact, config, text)
        for name, artifact in zip(names, artifacts, strict=True)
    )
    train = b""
    if corpus and config.baselines:
        train = training_text(corpus, max(config.warm_bytes, config.ngram_bytes))
    output = storage.absolute(config.output) if config.output else ""
    output = output or _default_output(root, models, text, config)
    return Plan(config, models, text, split, corpus, train, output)


def _planned(
    name: str, artifact: ModelArtifact, config: EvaluateConfig, text: Text
) -> PlannedModel:
    precision = artifact.about.precision if config.precision == "auto" else config.precision
    # Opened here too, so that files that are no model are refused before Ray starts.
    vocab = open_engine(artifact, precision).writable.vocab
    read = reading(text.data, vocab, name)
    return PlannedModel(name, artifact, precision, vocab.unit, len(vocab), read)


def _corpus(config: EvaluateConfig, model: ModelArtifact, root: str) -> Corpus | None:
    """The corpus that was asked for, else the model's own. A text can do without one."""
    learned = str(model.about.corpus)
    try:
        corpus = open_corpus(root, config.corpus or learned)
    except InputError as error:
        if config.corpus:
            raise
        if config.text:
            return None
        raise InputError(
            f"{model.uri} learned corpus {learned}, which cannot be opened: {error} "
            "Or give --corpus or --text."
        ) from None
    # A version of that name in another root need not be the same text.
    if not config.corpus and corpus.fingerprint != model.about.corpus.fingerprint:
        if config.text:
            return None
        raise InputError(
            f"{model.uri} learned another {learned} than the one under {root}; "
            "give --corpus to score that one's text."
        )
    return corpus


def _names(references: Sequence[str], artifacts: Sequence[ModelArtifact]) -> list[str]:
    """What models are called: name/version, or as they were given where two would be called so."""
    short = [f"{artifact.name}/{artifact.version}" for artifact in artifacts]
    if len(set(short)) < len(short):
        return list(references)
    return short


def _default_output(
    root: str, models: Sequence[PlannedModel], text: Text, config: EvaluateConfig
) -> str:
    """A folder named after the first model and a digest of all that decides the figures."""
    shown = {
        "models": [(model.artifact.digests[WEIGHTS], model.precision) for model in models],
        "text": (text.origin.sha256, text.origin.source),
        "baselines": (config.baselines, config.warm_bytes, config.ngram_bytes, config.max_order),
        "corpus": config.corpus,
    }
    digest = hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:6]
    first = models[0].artifact
    name = f"{first.name}-{first.version}-{digest}"
    return storage.join(root, "evaluations", name)
