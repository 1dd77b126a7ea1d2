"""Sampling from Python, without Ray: the same text as a job writes.

from pipeline.sampler import load_model, sample, stream
model = load_model("models:/linux@champion")
print(sample(model, "static int ", num_chars=500, temperature=0.7, seed=1))
for text in stream(model, "/*", num_chars=100_000):
    print(text, end="", flush=True)
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.engine import Engine, open_engine, request_of
from pipeline.sampling.plan import Plan, make_plan
from pipeline.training.artifact import FetchedModel


@dataclass(frozen=True)
class Model:
    """A model ready to sample: as fetched, and laid out for the processor. Threads may share it."""

    fetched: FetchedModel
    engine: Engine
    precision: str


def load_model(uri: str, root: str | None = None, precision: str = "auto") -> Model:
    """Fetch a model and check its digests; `uri` is whatever `jobs/sample.py --model` takes.

    `root` tells where the registry is when $MLFLOW_TRACKING_URI does not (default: $UNREASONABLE_ROOT, ~/unreasonable).
    Raises InputError for what does not exist, DamagedError for a file that is not what was published.
    """
    from pipeline.registry import fetch_model

    fetched = fetch_model(uri, storage.absolute(root or storage.default_root()))
    precision = Plan(SampleConfig(model=uri, precision=precision), fetched, ()).precision  # type: ignore[arg-type]
    return Model(fetched, open_engine(fetched, precision), precision)


def sample(model: Model, prime: str = "", **settings: Any) -> str:
    """A text of `num_chars` characters (default 1,000) that goes on from `prime`, which it begins with.

    Settings are the job's: num_chars, temperature, top_k, top_p, stop, lines, seed, unknown; `number` picks another text of
    the same settings, as file numbers do. Bytes that are no UTF-8 are shown as U+FFFD. Raises InputError for bad settings.
    """
    return "".join(stream(model, prime, **settings))


def stream(model: Model, prime: str = "", *, number: int = 0, **settings: Any) -> Iterator[str]:
    """`sample`, a piece of text at a time as it is written."""
    settings = {"num_chars": 1000, **settings, "temperature": str(settings.get("temperature", 1.0))}
    config = SampleConfig(model=model.fetched.uri, prime=prime, **settings)
    (known,) = make_plan(config, model.fetched).primes
    request = request_of(config, number, known)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in model.engine.stream([request], config.stop.encode()):
        if text := decoder.decode(piece.text, final=piece.ended):
            yield text
