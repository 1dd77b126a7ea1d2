"""What a sampling job would write: model, files, size and time, and what is there already.

Nothing is compiled and nothing is written; the model's files are read, and their digests checked.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import storage
from pipeline.corpora.manifest import corpus_url, open_version
from pipeline.engine.saved import saved_facts
from pipeline.errors import DamagedError, InputError
from pipeline.estimates import RAY_START_S, Estimate, check_could_write
from pipeline.model.about import ModelAbout, Precision
from pipeline.model.artifact import parse_vocab
from pipeline.model.config import ModelConfig
from pipeline.registry.looking import needs_registry, registry
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.job import Job, look
from pipeline.sampling.plan import Sample
from pipeline.sampling.writer import LANES, PARTIAL, STATE
from pipeline.training.estimate import parameters

# The engine on one CPU of a Xeon with AVX-512 VNNI, LSTMs of 1x256 and 2x512 units, 1 to 64 lanes:
# the measured rates lie between 0.7 and 1.4 times what these three figures give.
OPERATIONS_PER_S = {"fp32": 110e9, "int8": 450e9}
WEIGHT_BYTES_PER_S = 30e9  # a step reads all weights, however few lanes share it
UNIT_S = 4e-9  # of a lane and step: activations of a unit, choosing among the symbols
_BASIS = (
    "rates measured once, on one CPU with AVX-512: between 0.7 and 1.4 times as fast there, "
    "several times slower without"
)
_NAMES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A file that an earlier job has begun, which would go on from `characters`."""

    file: str
    characters: int


@dataclass(frozen=True, kw_only=True)
class SampleForecast:
    """What a sampling job would write.

    `files` are all of the job's, `kept` are there already and stay, `begun` go on from where they
    were saved. `characters` are still to be sampled, at most where texts end early. `bytes` are of
    all files, primes with them. `removed` are what --overwrite would remove. A model that is still
    to be trained has version "", and no digest of settings: then `output` is not known either.
    """

    model: str
    version: str
    precision: str
    parameters: int
    output: str | None
    files: int
    names: tuple[str, ...]
    kept: int
    begun: tuple[Begun, ...]
    characters: int
    bytes: Estimate
    seconds: Estimate | None
    removed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def forecast(config: SampleConfig, root: str) -> SampleForecast:
    """Say what a job would write, with a model that is there.

    Raises the InputErrors of the job: a model that does not exist, primes outside its vocabulary,
    an output of other settings.
    """
    if needs_registry(config.model) and registry(root) is None:
        raise InputError(
            f"no model {config.model}: nothing is registered under {root}; train one first."
        )
    # Late: it imports mlflow.
    from pipeline.registry.fetch import fetch_model

    job, removed = look(config, fetch_model(config.model, root), root)
    if job.missing:
        check_could_write(job.output, option="--output")
    plan = job.plan
    begun = () if removed else tuple(_begun(job))
    asked = sum(_characters(config) for _ in job.missing)
    characters = asked - sum(one.characters for one in begun)
    unit = parse_vocab(plan.model.files, plan.model.uri).unit
    width, basis = _char_bytes(unit, plan.model.about, root)
    primes = sum(len(sample.prime) for sample in plan.samples) * (config.lines or 1)
    lacking = len(job.missing)
    return SampleForecast(
        model=plan.model.uri,
        version=plan.model.version,
        precision=plan.precision,
        parameters=parameters(plan.model.about.model),
        output=job.output,
        files=len(plan.samples),
        names=tuple(sample.name for sample in plan.samples[:_NAMES_SHOWN]),
        kept=len(plan.samples) - lacking,
        begun=begun,
        characters=characters,
        bytes=Estimate(round(_characters(config) * len(plan.samples) * width + primes), basis),
        seconds=seconds(config, plan.model.about.model, plan.precision, lacking, characters),
        removed=tuple(sorted(removed)),
    )


def untrained(config: SampleConfig, model: ModelConfig, unit: str) -> SampleForecast:
    """What a job would write with a model that is still to be trained, of a known shape.

    The precision is settled when a model is registered, so time is that of fp32, the slower one.
    """
    files = config.num_files * len(config.temperatures)
    characters = _characters(config) * files
    width = 1.0 if unit == "byte" else 1.1
    precision: Precision = "int8" if config.precision == "int8" else "fp32"
    return SampleForecast(
        model=config.model,
        version="",
        precision=config.precision,
        parameters=parameters(model),
        output=storage.absolute(config.output) if config.output else None,
        files=files,
        names=(),
        kept=0,
        begun=(),
        characters=characters,
        bytes=Estimate(
            round(characters * width), "a byte a character, or a little more; one prime"
        ),
        seconds=seconds(config, model, precision, files, characters),
        removed=(),
    )


def seconds(
    config: SampleConfig, model: ModelConfig, precision: Precision, files: int, characters: int
) -> Estimate | None:
    """Time to sample so many characters into so many files; None for a GPU."""
    if config.use_gpu:
        return None
    if not files:
        return Estimate(1.0, "every file is there: no engine starts")
    actors = min(config.num_workers, files)
    lanes = min(LANES, -(-files // actors))
    steps = characters / (actors * lanes)
    value = RAY_START_S + steps * _step_seconds(model, precision, lanes)
    return Estimate(round(value, 1), f"{RAY_START_S:.0f} s to start Ray; {_BASIS}")


def _step_seconds(model: ModelConfig, precision: Precision, lanes: int) -> float:
    """One character on each lane of an actor."""
    table = model.traits.gates * model.hidden_size * (model.embedding_size or model.vocab_size)
    read = parameters(model) - table  # of the input table a lane reads one row
    weight_bytes = 1 if precision == "int8" else 4
    units = model.num_layers * model.hidden_size + model.vocab_size
    reading = read * weight_bytes / WEIGHT_BYTES_PER_S
    return reading + lanes * (2 * read / OPERATIONS_PER_S[precision] + UNIT_S * units)


def _characters(config: SampleConfig) -> int:
    """Characters that a file may have at most: with lines, each may have so many."""
    return config.num_chars * (config.lines or 1)


def _char_bytes(unit: str, about: ModelAbout, root: str) -> tuple[float, str]:
    """Bytes that a sampled character takes, and how that is known."""
    if unit == "byte":
        return 1.0, "a byte model writes a byte a character; less where texts end early"
    url = storage.join(corpus_url(root, about.corpus.name), about.corpus.version)
    try:
        corpus = open_version(url)
        width = corpus.bytes_in("train") / max(1, corpus.tokens_in("train"))
        return width, "bytes a character of the text it learned; less where texts end early"
    except InputError:
        return 1.1, "1.1 bytes a character: the corpus it learned is not under this root"


def _begun(job: Job) -> list[Begun]:
    """Missing files that an earlier job has saved a part of."""
    partial = storage.join(job.output, PARTIAL)
    folders = set(storage.names(partial))
    waiting = [sample for sample in job.missing if sample.name in folders]
    return [_saved(storage.join(partial, sample.name, STATE), sample) for sample in waiting]


def _saved(url: str, sample: Sample) -> Begun:
    if not storage.exists(url):
        return Begun(file=sample.name, characters=0)
    try:
        return Begun(
            file=sample.name, characters=int(saved_facts(storage.read_bytes(url))["sampled"])
        )
    except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise DamagedError(
            f"{url} is damaged ({type(error).__name__}: {error}); remove its folder and run again."
        ) from None
