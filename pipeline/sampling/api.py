"""Sampling from Python, without Ray; pipeline.sampler is its public door."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.engine.engine import Engine
from pipeline.engine.opening import open_engine
from pipeline.model.about import Precision
from pipeline.model.artifact import ModelArtifact
from pipeline.registry.fetch import fetch_model
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.plan import make_plan, precision_of, request_of

NUM_CHARS = 1000


@dataclass(frozen=True)
class Model:
    """A model ready to sample: its files, and laid out for the processor. Threads may share it."""

    artifact: ModelArtifact
    engine: Engine
    precision: Precision


def load_model(uri: str, root: str | None = None, precision: str = "auto") -> Model:
    """Fetch a model and check its digests; `uri` is whatever `jobs/sample.py --model` takes.

    `root` tells where the registry is when $MLFLOW_TRACKING_URI does not (default:
    $UNREASONABLE_ROOT, ~/unreasonable). Raises InputError for what does not exist, DamagedError for
    a file that is not what was published.
    """
    artifact = fetch_model(uri, storage.root_url(root or storage.default_root(), "root"))
    config = SampleConfig(model=uri, precision=precision)  # type: ignore[arg-type]
    chosen = precision_of(config, artifact)
    return Model(artifact, open_engine(artifact, chosen), chosen)


def sample(model: Model, prime: str = "", **settings: Any) -> str:
    """A text of `num_chars` characters (default 1,000) that goes on from `prime`, which it begins
    with.

    Settings are the job's: num_chars, temperature, top_k, top_p, stop, lines, seed, unknown;
    `number` picks another text of the same settings, as file numbers do. Bytes that are no UTF-8
    are shown as U+FFFD. Raises InputError for bad settings.
    """
    return "".join(stream(model, prime, **settings))


def stream(model: Model, prime: str = "", *, number: int = 0, **settings: Any) -> Iterator[str]:
    """`sample`, a piece of text at a time as it is written."""
    temperature = str(settings.pop("temperature", 1.0))
    config = SampleConfig(
        model=model.artifact.uri,
        prime=prime,
        temperature=temperature,
        **{"num_chars": NUM_CHARS, **settings},
    )
    (known,) = make_plan(config, model.artifact).primes
    request = request_of(config, number, known)
    # A piece may end inside a character of several bytes: the decoder keeps its beginning for the
    # next one.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in model.engine.stream([request], config.stop.encode()):
        text = decoder.decode(piece.text, final=piece.ended)
        if text:
            yield text
