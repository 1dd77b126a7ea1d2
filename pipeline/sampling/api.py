"""Sampling from Python, without Ray; pipeline.sampler is its public door."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pipeline import storage
from pipeline.engine.engine import Engine
from pipeline.engine.opening import open_engine
from pipeline.engine.request import Request, shown, written_text
from pipeline.errors import InputError
from pipeline.model.about import Precision
from pipeline.model.artifact import ModelArtifact
from pipeline.registry.fetch import fetch_model
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.plan import make_plan, precision_of, request_of

NUM_CHARS = 1000

AskedPrecision = Literal["auto", "fp32", "int8"]
Unknown = Literal["refuse", "skip"]


@dataclass(frozen=True)
class Model:
    """A model ready to sample: its files, and laid out for the processor. Threads may share it."""

    artifact: ModelArtifact
    engine: Engine
    precision: Precision


def load_model(uri: str, root: str | None = None, precision: AskedPrecision = "auto") -> Model:
    """Fetch a model and check its digests; `uri` is whatever `jobs/sample.py --model` takes.

    `root` tells where the registry is when $MLFLOW_TRACKING_URI does not (default:
    $UNREASONABLE_ROOT, ~/unreasonable). Raises InputError for arguments that mean nothing and for
    what does not exist, DamagedError for a file that is not what was published.
    """
    written_text("uri", uri)
    if root is not None:
        written_text("root", root)
    _check_choice("precision", precision, AskedPrecision)
    artifact = fetch_model(uri, storage.root_url(root or storage.default_root(), "root"))
    chosen = precision_of(SampleConfig(model=uri, precision=precision), artifact)
    return Model(artifact, open_engine(artifact, chosen), chosen)


def sample(
    model: Model,
    prime: str = "",
    *,
    num_chars: int = NUM_CHARS,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: str = "",
    lines: int = 0,
    seed: int = 1,
    unknown: Unknown = "refuse",
    number: int = 0,
) -> str:
    """A text of `num_chars` characters that goes on from `prime`, which it begins with.

    Settings are the job's; `number` picks another text of the same settings, as file numbers do.
    Bytes that are no UTF-8 are shown as U+FFFD. Raises InputError, by name, for a value that means
    nothing.
    """
    pieces = stream(
        model,
        prime,
        num_chars=num_chars,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop,
        lines=lines,
        seed=seed,
        unknown=unknown,
        number=number,
    )
    return "".join(pieces)


def stream(
    model: Model,
    prime: str = "",
    *,
    num_chars: int = NUM_CHARS,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: str = "",
    lines: int = 0,
    seed: int = 1,
    unknown: Unknown = "refuse",
    number: int = 0,
) -> Iterator[str]:
    """`sample`, a piece of text at a time as it is written. Wrong arguments are refused at once,
    not at the first piece.
    """
    if not isinstance(model, Model):
        raise InputError(f"model is {shown(model)}; it must be what load_model returns.")
    # A request checks its numbers, types and all: SampleConfig takes the command line's word for
    # types.
    asked = Request(
        number=number,
        num_chars=num_chars,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        lines=lines,
    )
    _check_choice("unknown", unknown, Unknown)
    config = SampleConfig(
        model=model.artifact.uri,
        prime=written_text("prime", prime),
        num_chars=asked.num_chars,
        temperature=repr(asked.temperature),
        top_k=asked.top_k,
        top_p=asked.top_p,
        stop=written_text("stop", stop),
        lines=asked.lines,
        seed=asked.seed,
        unknown=unknown,
    )
    return decoded(written(model, config, asked.number))


def written(model: Model, config: SampleConfig, number: int = 0) -> Iterator[bytes]:
    """The bytes of a job's file `number` for its first temperature and prime, a piece at a time.

    The settings are checked against the model at once; the precision is the one it was loaded in.
    """
    prime = make_plan(config, model.artifact).primes[0]
    request = request_of(config, number, prime)
    pieces = model.engine.stream([request], config.stop.encode())
    return (piece.text for piece in pieces)


def decoded(pieces: Iterator[bytes]) -> Iterator[str]:
    """Bytes as text, in pieces that are not empty."""
    # A piece may end inside a character of several bytes: the decoder keeps its beginning for the
    # next one.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        text = decoder.decode(piece)
        if text:
            yield text
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest


def _check_choice(option: str, value: Any, choices: Any) -> None:
    """Refuse a value that is none of a Literal's."""
    known = get_args(choices)
    # A list is in no tuple, but an array would compare itself with every name.
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{option} is {shown(value)}; it must be one of {', '.join(known)}.")
