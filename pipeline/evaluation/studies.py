"""The studies that an evaluation was asked for, in the order of the report.

All but the scores without near-duplicates are of the first model alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.corpora.trace import Tracer
from pipeline.corpora.vocab import symbols_of
from pipeline.engine.opening import open_engine
from pipeline.evaluation import (
    breakdown,
    canary,
    duplicates,
    dynamic,
    memory,
    places,
    proof,
    proof_result,
    verbatim,
)
from pipeline.evaluation.compare import bits_per_byte_outside
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.memory import Sample
from pipeline.evaluation.plan import Plan, PlannedModel
from pipeline.evaluation.result import Stream
from pipeline.evaluation.sample_set import SampleSet, draw_samples, read_samples
from pipeline.evaluation.scores import reading, state_ages
from pipeline.evaluation.section import Section
from pipeline.evaluation.structure import compare as structure
from pipeline.evaluation.study import Study
from pipeline.model.artifact import load_network
from pipeline.tasks import Runner

log = logging.getLogger("unreasonable")

CONTROL_BYTES = 8 << 20  # of held-out text beside samples: what checks look at
REFERENCE_BYTES = 16 << 20  # of training text that checks learn words and names from


@dataclass(frozen=True)
class Scene:
    """What studies work on: the plan, the streams of nats by model, and the nats by byte (N,) of
    the longest n-gram model, where there is one.
    """

    plan: Plan
    streams: Mapping[str, Stream]
    ngram_nats: np.ndarray | None
    runner: Runner
    root: str

    @property
    def config(self) -> EvaluateConfig:
        return self.plan.config

    @property
    def first(self) -> PlannedModel:
        return self.plan.models[0]

    @property
    def corpus(self) -> Corpus:
        """The corpus; plan.py has refused the studies that need one where there is none."""
        assert self.plan.corpus is not None
        return self.plan.corpus

    @property
    def held_out(self) -> str:
        """The split that stands beside samples."""
        return self.plan.split if self.plan.split in ("val", "test") else "val"

    @cached_property
    def samples(self) -> SampleSet:
        config = self.config
        if not config.drawn_samples:
            return read_samples(config.samples)
        output = storage.join(self.plan.output, "samples")
        return draw_samples(
            self.first.artifact,
            config.drawn_samples,
            config.sample_chars,
            config.sample_temperatures,
            output,
            self.root,
        )


def near_duplicates(scene: Scene) -> Study | None:
    """Held-out text that nearly stands in the training split, and the scores without it."""
    if not (scene.config.duplicates and scene.plan.split in ("val", "test")):
        return None
    found = duplicates.near_duplicates(scene.corpus, scene.runner, split=scene.plan.split)
    ranges = _byte_ranges(found, scene)
    size = len(scene.plan.text.data)
    without = {
        name: bits_per_byte_outside(stream, size, ranges) for name, stream in scene.streams.items()
    }
    rows = [("model", "bits per byte without near-duplicates")]
    rows += [(name, "-" if bits is None else f"{bits:.4f}") for name, bits in without.items()]
    section = Section(title="Scores without near-duplicates", table=tuple(rows))
    result = {**found.to_json(), "bits_per_byte_without": without}
    key = {"share": found.share, "recall": found.recall}
    return Study("near_duplicates", result, (duplicates.section(found), section), key)


def loss(scene: Scene) -> Study | None:
    """Where the loss of the first model lies, beside the longest n-gram model's."""
    if not scene.config.breakdown:
        return None
    model = scene.first
    symbols = symbols_of(scene.plan.text.data, model.vocab.unit)
    stream = scene.streams[model.name]
    rivals = {}
    if scene.ngram_nats is not None:
        by_symbol = np.add.reduceat(scene.ngram_nats, stream.starts)
        rivals[f"{scene.config.max_order}-gram"] = by_symbol
    counts = None
    if scene.plan.corpus:
        words = places.words_of(symbols, model.vocab.unit)
        counts = places.train_word_counts(scene.plan.corpus, words, scene.runner)
    found = breakdown.breakdown(
        symbols,
        stream.nats,
        model.vocab.unit,
        rivals=rivals,
        word_counts=counts,
        distances=state_ages(model.read, len(symbols)),
    )
    return Study("loss", found.to_json(), (breakdown.section(found),), {})


def proven(scene: Scene) -> Study | None:
    """The proof file of the text."""
    if not scene.config.prove:
        return None
    found = proof.prove(
        scene.first.artifact,
        scene.plan.text.data,
        storage.absolute(scene.config.prove),
        run=scene.runner,
    )
    key = {"bytes": float(found.file_bytes), "chars_per_sec": found.chars_per_sec}
    return Study("proof", found.to_json(), (proof_result.section(found),), key)


def learning(scene: Scene) -> Study | None:
    """Dynamic evaluation: tuned on val, reported on test."""
    if not scene.config.dynamic:
        return None
    network, _, _ = load_network(scene.first.artifact.files, scene.first.artifact.uri)
    texts = []
    for split in ("val", "test"):
        tokens = scene.corpus.open_split(split)
        texts.append((split, tokens.read(0, min(len(tokens), scene.config.dynamic_tokens))))
    train = scene.corpus.open_split("train")
    found = dynamic.dynamic_evaluation(network, train, texts[0], texts[1])
    key = {"test_nats": found.nats, "test_static_nats": found.static_nats}
    return Study("dynamic", found.to_json(), (dynamic.section(found),), key)


def made(scene: Scene) -> Study | None:
    """How well samples are made, beside held-out text of their size."""
    if not scene.config.samples:
        return None
    control = _documents(scene.corpus, scene.held_out, CONTROL_BYTES)
    reference = b"".join(_documents(scene.corpus, "train", REFERENCE_BYTES).values())
    found = structure.compare(
        scene.plan.kind,
        scene.samples.texts,
        control,
        reference,
        scene.samples.temperatures,
        compiles=scene.config.compile,
    )
    sections = (structure.section(found), structure.places(found))
    return Study("structure", found.to_json(), sections, {})


def remembered(scene: Scene) -> Study | None:
    """What samples share with the training split, with held-out text as control."""
    if not scene.config.samples:
        return None
    temperatures = scene.samples.temperatures
    samples = [
        Sample(name=name, group=f"temperature {temperatures[name]:g}", text=text)
        for name, text in scene.samples.texts.items()
    ]
    a_group = [each for each in samples if each.group == samples[0].group]
    controls = verbatim.control_of(scene.corpus, a_group, scene.held_out)
    found = verbatim.remembered(scene.corpus, samples + controls, scene.runner)
    key = {
        f"covered_{group.group.replace(' ', '_')}": group.covered / max(1, group.symbols)
        for group in found.groups
    }
    return Study("memory", found.to_json(), (memory.section(found),), key)


def continued(scene: Scene) -> Study | None:
    """Whether the model goes on word for word behind training text."""
    if not scene.config.samples or not scene.plan.is_own_corpus:
        return None
    engine = open_engine(scene.first.artifact, scene.first.precision)
    found = canary.canary(engine, scene.corpus)
    key = {
        f"{share.split}_{share.prefix}": share.exact / max(1, share.asked) for share in found.shares
    }
    return Study("canary", found.to_json(), (canary.section(found),), key)


# A study is a line here.
STUDIES: tuple[Callable[[Scene], Study | None], ...] = (
    near_duplicates,
    loss,
    proven,
    learning,
    made,
    remembered,
    continued,
)


def studies(scene: Scene) -> tuple[Study, ...]:
    """Every study that was asked for."""
    found = []
    for make in STUDIES:
        study = make(scene)
        if study is not None:
            log.info("evaluate: %s done", study.name.replace("_", " "))
            found.append(study)
    return tuple(found)


def _byte_ranges(found: duplicates.NearDuplicates, scene: Scene) -> list[tuple[int, int]]:
    """The stretches of tokens of a split as ranges of bytes of the text, which may be cut."""
    data = scene.plan.text.data
    # A token of the corpus is a symbol of its text, the unknown one too.
    starts = np.append(reading(data, scene.corpus.vocab).starts, len(data))
    last = len(starts) - 1
    return [
        (int(starts[min(each.start, last)]), int(starts[min(each.stop, last)]))
        for each in found.stretches
    ]


def _documents(corpus: Corpus, split: str, max_bytes: int) -> dict[str, bytes]:
    """The first documents of a split by path, or the parts of them that the split has."""
    tracer = Tracer(corpus)
    texts: dict[str, bytes] = {}
    room = max_bytes
    for part in tracer.parts(split):
        if room <= 0:
            break
        text = tracer.text(split, part.offset, min(part.end, part.offset + room))
        name = part.path.decode(errors="backslashreplace")
        texts[f"{name} from {part.start}" if part.start else name] = text
        room -= len(text)
    return texts
