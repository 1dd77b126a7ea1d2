"""What a sampling job writes: its files by name, and the settings that decide their bytes. Pure: no Ray, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pipeline import storage
from pipeline.corpora.vocab import Vocab, symbols_of
from pipeline.errors import DamagedError, InputError
from pipeline.sampling.config import SampleConfig
from pipeline.training.artifact import VOCAB, WEIGHTS, FetchedModel

FORMAT = 2
MAX_PRIME_BYTES = 16 << 20
SHOWN_CHARS = 200  # of a prime, in records


@dataclass(frozen=True)
class Sample:
    """One file: its name, its number among those of its temperature and prime, and what it starts from."""

    name: str
    number: int
    temperature: float
    prime: bytes


@dataclass(frozen=True)
class Plan:
    """A job's settings, checked against the model. `primes` are as the model reads them."""

    config: SampleConfig
    model: FetchedModel
    primes: tuple[bytes, ...]

    @property
    def precision(self) -> str:
        """What products are computed in: as asked for, else as measured when the model was registered."""
        if self.config.precision != "auto":
            return self.config.precision
        measured = self.model.config.get("sampling") or {}
        return "int8" if measured.get("precision") == "int8" and not self.config.use_gpu else "fp32"

    def without_weights(self) -> Plan:
        """The same plan for who has an engine already."""
        files = {name: b"" if name == WEIGHTS else data for name, data in self.model.files.items()}
        return replace(self, model=replace(self.model, files=files))

    @cached_property
    def samples(self) -> list[Sample]:
        """All files, in the order of samples.jsonl: by temperature, prime and number."""
        several = len(self.config.temperatures) > 1, len(self.primes) > 1
        return [
            Sample(_name(temperature if several[0] else None, at if several[1] else None, number), number, temperature, prime)
            for temperature in self.config.temperatures
            for at, prime in enumerate(self.primes)
            for number in range(self.config.num_files)
        ]

    @property
    def identity(self) -> dict[str, Any]:
        """The model, and what else besides the settings decides bytes."""
        model = self.model
        return {
            "model": model.name,
            "version": model.version,
            "weights_sha256": model.digests["weights.safetensors"],
            "corpus": model.config["corpus"],
            "precision": self.precision,
            "device": "cuda" if self.config.use_gpu else "cpu",
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the files' bytes, besides how many they are."""
        config = self.config
        return {
            "format": FORMAT,
            "identity": self.identity,
            "temperatures": list(config.temperatures),
            "primes": [storage.sha256_bytes(prime) for prime in self.primes],
            **{name: getattr(config, name) for name in ("num_chars", "top_k", "top_p", "stop", "lines", "seed")},
        }

    @property
    def digest(self) -> str:
        """A short name for the settings."""
        return storage.sha256_bytes(json.dumps(self.settings, sort_keys=True).encode())[:6]

    def record(self, sample: Sample) -> dict[str, Any]:
        """What samples.jsonl says of a file, besides what came out."""
        config = self.config
        return {
            "file": sample.name,
            "number": sample.number,
            "temperature": sample.temperature,
            "prime": sample.prime.decode("utf-8", "replace")[:SHOWN_CHARS],
            "prime_sha256": storage.sha256_bytes(sample.prime),
            **{name: getattr(config, name) for name in ("top_k", "top_p", "stop", "lines", "seed")},
            **self.identity,
        }


def make_plan(config: SampleConfig, model: FetchedModel) -> Plan:
    """Read the job's primes and check them, and the stop text, against the model's vocabulary; InputError names what fails."""
    try:
        vocab = Vocab.from_json(json.loads(model.files[VOCAB]))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise DamagedError(f"{model.uri}: {VOCAB} is not JSON ({error}); fetch the model again.") from None
    primes = [_readable(text, what, vocab, skip=config.unknown == "skip") for what, text in _primes(config)]
    if config.stop:
        _readable(config.stop.encode(), f"stop {config.stop!r}", vocab, skip=False)
    if config.lines:
        _readable(b"\n", "lines need a line feed, but the model", vocab, skip=False)
    if config.lines and any(b"\n" in prime for prime in primes):
        raise InputError("a prime with a line feed cannot begin a line; leave out --lines, or the line feed.")
    return Plan(config, model, tuple(dict.fromkeys(primes)))


def _name(temperature: float | None, prime: int | None, number: int) -> str:
    parts = [
        "sample",
        *([f"t{repr(temperature).removesuffix('.0')}"] if temperature is not None else []),
        *([f"p{prime:04d}"] if prime is not None else []),
    ]
    return "-".join([*parts, f"{number:05d}.txt"])


def _primes(config: SampleConfig) -> list[tuple[str, bytes]]:
    """The primes as given, each with what to call it in a message."""
    if config.prime_file:
        return [(f"prime_file {config.prime_file}", _read(config.prime_file, "prime_file"))]
    if not config.primes:
        return [(f"prime {config.prime[:40]!r}", config.prime.encode())]
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
        raise InputError(f"{what} is not UTF-8 at byte {error.start}, and the model writes characters.") from None
    missing = vocab.missing(symbols)
    if not missing:
        return text
    if not skip:
        from pipeline.corpora.vocab import describe

        raise InputError(
            f"{what} has symbols outside the vocabulary: {describe(missing, vocab.unit)}. "
            "Leave them out, or give --unknown skip."
        )
    kept: Callable[[int], bytes] = (lambda s: bytes([s])) if vocab.unit == "byte" else (lambda s: chr(s).encode())
    outside = set(missing)
    return b"".join(kept(int(symbol)) for symbol in symbols if symbol not in outside)
