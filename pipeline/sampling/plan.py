"""What a sampling job writes: its files by name, and the settings that decide their bytes. Pure: no
Ray, no torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from pipeline import storage
from pipeline.corpora.vocab import Vocab, describe, symbols_of
from pipeline.engine.request import Request
from pipeline.errors import InputError
from pipeline.model.about import Precision
from pipeline.model.artifact import WEIGHTS, ModelArtifact, parse_vocab
from pipeline.sampling.config import SampleConfig

FORMAT = 2
MAX_PRIME_BYTES = 16 << 20
PRIME_CHARS_SHOWN = 200  # in records, which also have the digest of all of it
# Settings that stand in settings.json and in records under their own names.
_DRAWING = ("top_k", "top_p", "stop", "lines", "seed")


@dataclass(frozen=True)
class Sample:
    """One file: its name, its number among those of its temperature and prime, and what it starts
    from.
    """

    name: str
    number: int
    temperature: float
    prime: bytes


@dataclass(frozen=True, kw_only=True)
class SampleRecord:
    """A line of samples.jsonl: one file, what it was asked for, and what came out.

    `prime` is cut to its first characters, `prime_sha256` is of all of it. `num_chars` are sampled,
    without the prime; `bytes` are with it. `mean_nats` are under the model, at temperature 1.
    `identity` is the model, and what else besides the settings decides bytes (Plan.identity); its
    fields stand beside the others in the line.
    """

    file: str
    number: int
    temperature: float
    prime: str
    prime_sha256: str
    top_k: int
    top_p: float
    stop: str
    lines: int
    seed: int
    num_chars: int
    bytes: int
    sha256: str
    mean_nats: float
    identity: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        value = asdict(self)
        identity = value.pop("identity")
        return value | identity

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SampleRecord:
        """Raises KeyError, TypeError or ValueError for what is no record."""
        own = {name: value[name] for name in cls.__dataclass_fields__ if name != "identity"}
        # What is no finite number is no JSON either, though Python reads and writes it.
        json.dumps(own, allow_nan=False)
        identity = {name: item for name, item in value.items() if name not in own}
        return cls(**own, identity=identity)


@dataclass(frozen=True)
class Plan:
    """A job's settings, checked against the model. `primes` are as the model reads them."""

    config: SampleConfig
    model: ModelArtifact
    primes: tuple[bytes, ...]

    @property
    def precision(self) -> Precision:
        return precision_of(self.config, self.model)

    def without_weights(self) -> Plan:
        """The same plan for who has an engine already."""
        files = {name: b"" if name == WEIGHTS else data for name, data in self.model.files.items()}
        return replace(self, model=replace(self.model, files=files))

    @cached_property
    def samples(self) -> list[Sample]:
        """All files, in the order of samples.jsonl: by temperature, prime and number."""
        temperatures = self.config.temperatures
        several_temperatures = len(temperatures) > 1
        several_primes = len(self.primes) > 1
        samples = []
        for temperature in temperatures:
            for index, prime in enumerate(self.primes):
                for number in range(self.config.num_files):
                    name = _file_name(
                        temperature if several_temperatures else None,
                        index if several_primes else None,
                        number,
                    )
                    samples.append(Sample(name, number, temperature, prime))
        return samples

    @property
    def identity(self) -> dict[str, Any]:
        """The model, and what else besides the settings decides bytes."""
        model = self.model
        return {
            "model": model.name,
            "version": model.version,
            "weights_sha256": model.digests[WEIGHTS],
            "corpus": model.about.corpus.to_json(),
            "precision": self.precision,
            "device": "cuda" if self.config.use_gpu else "cpu",
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the files' bytes, besides how many they are: settings.json."""
        config = self.config
        return {
            "format": FORMAT,
            "identity": self.identity,
            "temperatures": list(config.temperatures),
            # Digests: a prime may have megabytes.
            "primes": [storage.sha256_bytes(prime) for prime in self.primes],
            "num_chars": config.num_chars,
            **{name: getattr(config, name) for name in _DRAWING},
        }

    @property
    def digest(self) -> str:
        """A short name for the settings: six hex digits of their SHA-256."""
        return storage.sha256_bytes(json.dumps(self.settings, sort_keys=True).encode())[:6]

    def request(self, sample: Sample) -> Request:
        """What a file asks of the engine."""
        return request_of(self.config, sample.number, sample.prime, sample.temperature)

    def record(
        self, sample: Sample, *, num_chars: int, size: int, sha256: str, mean_nats: float
    ) -> SampleRecord:
        """What samples.jsonl says of a file that came out like this."""
        config = self.config
        return SampleRecord(
            file=sample.name,
            number=sample.number,
            temperature=sample.temperature,
            prime=sample.prime.decode("utf-8", "replace")[:PRIME_CHARS_SHOWN],
            prime_sha256=storage.sha256_bytes(sample.prime),
            top_k=config.top_k,
            top_p=config.top_p,
            stop=config.stop,
            lines=config.lines,
            seed=config.seed,
            num_chars=num_chars,
            bytes=size,
            sha256=sha256,
            mean_nats=mean_nats,
            identity=self.identity,
        )


def make_plan(config: SampleConfig, model: ModelArtifact) -> Plan:
    """Read the job's primes and check them, and the stop text, against the model's vocabulary.

    InputError names what fails. A prime that comes twice is taken once.
    """
    vocab = parse_vocab(model.files, model.uri)
    skip = config.unknown == "skip"
    primes = [_readable(text, what, vocab, skip=skip) for what, text in _primes(config)]
    # A stop text that the model cannot write would never end a file, whatever --unknown says.
    if config.stop:
        _readable(config.stop.encode(), f"stop {config.stop!r}", vocab, skip=False)
    if config.lines:
        _readable(b"\n", "lines need a line feed, but the model", vocab, skip=False)
        if any(b"\n" in prime for prime in primes):
            raise InputError(
                "a prime with a line feed cannot begin a line; leave out --lines, or the line feed."
            )
    return Plan(config, model, tuple(dict.fromkeys(primes)))


def precision_of(config: SampleConfig, model: ModelArtifact) -> Precision:
    """What products are computed in: as asked for, else as measured when the model was registered.

    A GPU samples in float32: int8 is the compiled engine's.
    """
    if config.precision != "auto":
        return config.precision
    may_be_int8 = model.about.precision == "int8" and not config.use_gpu
    return "int8" if may_be_int8 else "fp32"


def request_of(
    config: SampleConfig, number: int, prime: bytes, temperature: float | None = None
) -> Request:
    """The request that a job's settings make of a file's number and prime; at its first
    temperature, unless told.
    """
    return Request(
        number=number,
        num_chars=config.num_chars,
        temperature=config.temperatures[0] if temperature is None else temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        prime=prime,
        seed=config.seed,
        lines=config.lines,
    )


def _file_name(temperature: float | None, prime: int | None, number: int) -> str:
    """sample-[tTEMPERATURE-][pPRIME-]NUMBER.txt; None for what all files share."""
    parts = ["sample"]
    if temperature is not None:
        # repr() gives every digit that tells two numbers apart; 1.0 is called 1.
        parts.append(f"t{repr(temperature).removesuffix('.0')}")
    if prime is not None:
        parts.append(f"p{prime:04d}")
    return "-".join([*parts, f"{number:05d}.txt"])


def _primes(config: SampleConfig) -> list[tuple[str, bytes]]:
    """The primes as they were named, each with what to call it in a message."""
    if config.prime_file:
        text = _read(config.prime_file, "prime_file")
        return [(f"prime_file {config.prime_file}", text)]
    if not config.primes:
        return [(f"prime {config.prime[:40]!r}", config.prime.encode())]
    # A file from Windows has the same primes as one from here.
    lines = _read(config.primes, "primes").replace(b"\r\n", b"\n").split(b"\n")
    named = [(f"{config.primes}, line {at}", line) for at, line in enumerate(lines, 1) if line]
    if not named:
        raise InputError(f"primes {config.primes} has no lines; give one prime a line.")
    return named


def _read(url: str, option: str) -> bytes:
    return storage.read_given(storage.absolute(url), MAX_PRIME_BYTES, option)


def _readable(text: bytes, what: str, vocab: Vocab, *, skip: bool) -> bytes:
    """A text that the vocabulary covers: as it is, or, with `skip`, without what is outside."""
    try:
        symbols = symbols_of(text, vocab.unit)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{what} is not UTF-8 at byte {error.start}, and the model writes characters."
        ) from None
    missing = vocab.missing(symbols)
    if not missing:
        return text
    if not skip:
        raise InputError(
            f"{what} has symbols outside the vocabulary: {describe(missing, vocab.unit)}. "
            "Leave them out, or give --unknown skip."
        )
    outside = set(missing)
    kept = [int(symbol) for symbol in symbols if symbol not in outside]
    if vocab.unit == "byte":
        return bytes(kept)
    return "".join(map(chr, kept)).encode()
