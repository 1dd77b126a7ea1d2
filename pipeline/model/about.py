"""What a model's config.json says of the model: its shape, where it comes from, how good it was.

Each section that crosses a joint is a frozen dataclass whose to_json is what stands in the file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from pipeline.errors import DamagedError, InputError
from pipeline.model.config import ModelConfig

FORMAT = 1
MAX_COUNT = 1 << 53  # the engine adds counts as float64, which is exact below this

Precision = Literal["fp32", "int8"]


@dataclass(frozen=True)
class CorpusReference:
    """Which version of which corpus a model learned."""

    name: str
    version: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> CorpusReference:
        return cls(value["name"], value["version"], value["fingerprint"])


@dataclass(frozen=True)
class Lineage:
    """What a registered model keeps of its corpus: where the text is from, down to a digest of all
    documents.
    """

    sources: tuple[str, ...] = ()
    unit: str = "?"
    documents: int = 0
    documents_sha256: str = ""
    bytes: int = 0
    url: str = ""
    licence: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"sources": list(self.sources)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Lineage:
        return cls(**{**_known(cls, value), "sources": tuple(value.get("sources", []))})


@dataclass(frozen=True)
class PrecisionCheck:
    """The precision to sample in on CPUs, and what it was decided by: mean nats a token over
    `tokens` tokens.

    With no tokens the text was too short to measure anything, and there are no figures.
    """

    precision: Precision
    tokens: int
    nats_fp32: float | None = None
    nats_int8: float | None = None

    def to_json(self) -> dict[str, Any]:
        # A figure that was not measured has no key: null would be read as a number somewhere.
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PrecisionCheck:
        return cls(**_known(cls, value))


@dataclass(frozen=True, kw_only=True)
class ModelAbout:
    """A parsed config.json. `train` are the run's settings; lineage and sampling are a registered
    model's alone.

    `first_tokens` are (token, count) pairs: what the corpus's documents start with.
    """

    model: ModelConfig
    corpus: CorpusReference
    first_tokens: tuple[tuple[int, int], ...] = ()
    train: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    lineage: Lineage | None = None
    sampling: PrecisionCheck | None = None

    @property
    def precision(self) -> Precision:
        """The precision that registration decided on; fp32 where it was not measured."""
        # The config is anybody's file: a word that is no precision must not count as int8.
        if self.sampling and self.sampling.precision == "int8":
            return "int8"
        return "fp32"

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "format": FORMAT,
            "model": asdict(self.model),
            "corpus": self.corpus.to_json(),
            "first_tokens": [list(pair) for pair in self.first_tokens],
            "train": self.train,
            "step": self.step,
            "metrics": self.metrics,
        }
        # A checkpoint's config has neither section; the key must not be there then, not even null.
        if self.lineage:
            value["lineage"] = self.lineage.to_json()
        if self.sampling:
            value["sampling"] = self.sampling.to_json()
        return value

    @classmethod
    def from_json(cls, value: Any, source: str) -> ModelAbout:
        """Parse a config; `source` names the file in messages.

        Raises InputError for another format, DamagedError for what is no model's config. Compiled
        code reads `first_tokens` without looking, so they are checked here against the vocabulary's
        size.
        """
        if not isinstance(value, dict) or "format" not in value:
            raise DamagedError(
                f"{source} does not say what the model learned; fetch the model again."
            )
        # Looked at first: what another format means by the other keys is not known.
        if value["format"] != FORMAT:
            raise InputError(
                f"{source} is not of a format {FORMAT} model; "
                "use the program's version that wrote it."
            )
        try:
            model = ModelConfig.from_json(value.get("model"))
        except ValueError as error:
            raise DamagedError(
                f"{source} does not describe a model ({error}); fetch the model again."
            ) from None
        first_tokens = value.get("first_tokens", [])
        if not _are_counts(first_tokens, model.vocab_size):
            raise DamagedError(
                f"{source}: first_tokens are not (token, count) pairs of the vocabulary; "
                "fetch the model again."
            )
        names = ("corpus", "train", "metrics", "lineage", "sampling")
        sections = {name: value.get(name, {}) for name in names}
        are_tables = all(isinstance(section, dict) for section in sections.values())
        if not are_tables or not sections["corpus"]:
            raise DamagedError(
                f"{source} does not say what the model learned; fetch the model again."
            )
        lineage = None
        sampling = None
        try:
            corpus = CorpusReference.from_json(sections["corpus"])
            if sections["lineage"]:
                lineage = Lineage.from_json(sections["lineage"])
            if sections["sampling"]:
                sampling = PrecisionCheck.from_json(sections["sampling"])
        except (KeyError, TypeError) as error:
            raise DamagedError(
                f"{source}: a section lacks a field, or has one too many ({error}); "
                "fetch the model again."
            ) from None
        return cls(
            model=model,
            corpus=corpus,
            first_tokens=tuple((token, count) for token, count in first_tokens),
            train=sections["train"],
            step=value.get("step", 0),
            metrics=sections["metrics"],
            lineage=lineage,
            sampling=sampling,
        )


def _are_counts(pairs: Any, symbols: int) -> bool:
    """Whether these are pairs of a token and how often it occurs."""
    # type(), not isinstance(): true is no token.
    return isinstance(pairs, list) and all(
        isinstance(pair, list | tuple)
        and [type(number) for number in pair] == [int, int]
        and 0 <= pair[0] < symbols
        and 0 <= pair[1] < MAX_COUNT
        for pair in pairs
    )


def _known(section: Any, value: dict[str, Any]) -> dict[str, Any]:
    """The settings of a section that this version knows; a later one may have written more."""
    names = {each.name for each in fields(section)}
    return {name: item for name, item in value.items() if name in names}
