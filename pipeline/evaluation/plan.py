"""An evaluation before anything is computed: models, text and training text, all checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pipeline import recipes, storage
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.corpora.vocab import Vocab
from pipeline.engine.opening import open_engine
from pipeline.errors import InputError
from pipeline.evaluation import compressors, plots
from pipeline.evaluation.compressors import COMPRESSORS, CompressorTask
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.intervals import Blocks
from pipeline.evaluation.ngrams import NgramTask
from pipeline.evaluation.sample_set import sample_records
from pipeline.evaluation.scores import LaneTask, Reading, lane_tasks, reading
from pipeline.evaluation.structure import compilers
from pipeline.evaluation.texts import Text, text_of_split, text_of_url, training_text
from pipeline.model.about import Precision
from pipeline.model.artifact import WEIGHTS, ModelArtifact
from pipeline.registry.fetch import fetch_model

# Settings that decide what else than scores stands in a report.
STUDY_SETTINGS = (
    "duplicates",
    "breakdown",
    "prove",
    "dynamic",
    "dynamic_tokens",
    "per_document",
    "samples",
    "sample_chars",
    "sample_temperatures",
    "kind",
    "compile",
)
REPORT = "report.html"
NO_KINDS: Mapping[str, str] = MappingProxyType({})
Task = LaneTask | CompressorTask | NgramTask


@dataclass(frozen=True)
class PlannedModel:
    """A model to score: what it is called in reports, and the text as it reads it."""

    name: str
    artifact: ModelArtifact
    precision: Precision
    vocab: Vocab
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
    kind: str = ""

    @property
    def is_own_corpus(self) -> bool:
        """Whether the first model learned the very corpus at hand."""
        learned = self.models[0].artifact.about.corpus
        return self.corpus is not None and learned.fingerprint == self.corpus.fingerprint

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
        keep = self.config.breakdown
        return packed, [NgramTask(self.ngram_train, self.text.data, order, blocks, keep)]


def prepare(config: EvaluateConfig, root: str, kinds: Mapping[str, str] = NO_KINDS) -> Plan:
    """Fetch models and texts, and refuse what cannot be evaluated. Writes nothing.

    `kinds` are kinds of text by name of corpus that a caller knows beside the shipped recipes.
    """
    plots.check_installed()
    if config.baselines:
        compressors.check_installed()
    artifacts = [fetch_model(reference, root) for reference in config.references]
    corpus = corpus_of(config, artifacts[0], root)
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
    kind = _kind(config, corpus, kinds)
    output = storage.absolute(config.output) if config.output else ""
    output = output or _default_output(root, models, text, config)
    return Plan(config, models, text, split, corpus, train, output, kind)


def _planned(
    name: str, artifact: ModelArtifact, config: EvaluateConfig, text: Text
) -> PlannedModel:
    precision = precision_of(config, artifact)
    # Opened here too, so that files that are no model are refused before Ray starts.
    vocab = open_engine(artifact, precision).writable.vocab
    read = reading(text.data, vocab, name)
    return PlannedModel(name, artifact, precision, vocab, read)


def precision_of(config: EvaluateConfig, artifact: ModelArtifact) -> Precision:
    """What a model's products are computed in."""
    return artifact.about.precision if config.precision == "auto" else config.precision


def corpus_of(config: EvaluateConfig, model: ModelArtifact, root: str) -> Corpus | None:
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


def _kind(config: EvaluateConfig, corpus: Corpus | None, kinds: Mapping[str, str]) -> str:
    """What kind of text samples are checked as. Refuses the studies that lack their corpus."""
    if not (config.samples or config.dynamic):
        return config.kind
    if corpus is None:
        option = "samples" if config.samples else "dynamic"
        raise InputError(
            f"--{option} needs the corpus that the model learned, which is not under the root; "
            "give --corpus."
        )
    if config.dynamic and not all(map(corpus.tokens_in, ("val", "test"))):
        raise InputError(
            "--dynamic is tuned on val and reported on test, and the corpus lacks one of them; "
            "build it with corpus.val and corpus.test above 0."
        )
    kind = config.kind or kinds.get(corpus.name, "") or recipes.kind_of(corpus.name)
    if config.samples and not kind:
        raise InputError(
            f"nothing says what kind of text corpus {corpus.name} is; give --kind: "
            f"{', '.join(recipes.KINDS)}."
        )
    if config.samples and not config.drawn_samples:
        # They are read after the scoring, which may take long.
        sample_records(storage.absolute(config.samples))
    if config.compile:
        compilers.check_compiler(kind)
    return kind


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
        "studies": [getattr(config, name) for name in STUDY_SETTINGS],
    }
    digest = hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:6]
    first = models[0].artifact
    name = f"{first.name}-{first.version}-{digest}"
    return storage.join(root, "evaluations", name)
