"""The canary question: given the beginning of a training text, does the model go on word for word?

Asked at places spread evenly over the training split, for several lengths of prefix, at
temperature 0; and at as many places of held-out text, which the model cannot have learnt by heart.
After Carlini et al. (2019, 2023), whose measure is the share of prefixes that are continued
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.corpora.manifest import Corpus
from pipeline.corpora.trace import Tracer
from pipeline.engine.engine import Engine
from pipeline.engine.request import Request
from pipeline.errors import InputError
from pipeline.evaluation.section import Section

PREFIXES = (16, 64, 256)  # symbols
CONTINUED = 50  # symbols that must agree, as in Carlini et al. (2023)
PLACES = 200
SHOWN = 5  # places that are named where the model went on word for word
_FEWEST_DISTINCT = 10  # symbols of a continuation: blank lines and rows of dashes are no memory


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """A place of the split whose text the model wrote on, from `prefix` symbols before it."""

    prefix: int
    place: int
    path: str
    offset: int | None
    text: str


@dataclass(frozen=True, kw_only=True)
class CanaryShare:
    """Places of a split asked with prefixes of one length.

    At `exact` of `asked` places all symbols agreed; `agreed` is the mean number that did before the
    first one that did not.
    """

    split: str
    prefix: int
    asked: int
    exact: int
    agreed: float


@dataclass(frozen=True, kw_only=True)
class Canary:
    """The answers: how often `continued` symbols were reproduced, and where."""

    continued: int
    shares: tuple[CanaryShare, ...]
    reproduced: tuple[Reproduced, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "continued": self.continued,
            "shares": [vars(share) for share in self.shares],
            "reproduced": [vars(found) for found in self.reproduced],
        }


def canary(
    engine: Engine,
    corpus: Corpus,
    *,
    prefixes: tuple[int, ...] = PREFIXES,
    continued: int = CONTINUED,
    places: int = PLACES,
    splits: tuple[str, ...] = ("train", "val"),
) -> Canary:
    """Ask the model at the same places for every length of prefix.

    Splits too short for a prefix and its continuation are left out; InputError if all are.
    """
    if engine.writable.vocab != corpus.vocab:
        raise InputError(
            f"the model's vocabulary is not that of corpus {corpus.name}@{corpus.version}; "
            "give the corpus that it was trained on."
        )
    tracer = Tracer(corpus)
    shares = []
    reproduced: list[Reproduced] = []
    for split in splits:
        tokens = _asked_tokens(tracer, split, max(prefixes), continued, places)
        for prefix in prefixes if tokens else ():
            agreed = _agreed(engine, tracer, split, tokens, prefix, continued)
            exact = np.flatnonzero(agreed == continued)
            shares.append(
                CanaryShare(
                    split=split,
                    prefix=prefix,
                    asked=len(tokens),
                    exact=len(exact),
                    agreed=float(agreed.mean()),
                )
            )
            for index in exact[:SHOWN].tolist():
                reproduced.append(_found(tracer, split, tokens[index], prefix, continued))
    if not shares:
        raise InputError(
            f"no split of corpus {corpus.name} has {max(prefixes) + continued} tokens in a row; "
            "ask with shorter prefixes."
        )
    return Canary(continued=continued, shares=tuple(shares), reproduced=tuple(reproduced))


def section(result: Canary) -> Section:
    """Shares by split and length of prefix, and the places that were reproduced."""
    rows = [("text", "prefix", "places", "word for word", "symbols before the first difference")]
    for share in result.shares:
        exact = f"{share.exact} ({100 * share.exact / share.asked:.1f}%)"
        row = (share.split, str(share.prefix), str(share.asked), exact, f"{share.agreed:.1f}")
        rows.append(row)
    for found in result.reproduced:
        place = f"{found.path}:{found.offset}"
        rows.append(("reproduced", str(found.prefix), place, found.text, ""))
    lead = (
        "Given the symbols before a place, the likeliest text is compared with the "
        f"{result.continued} symbols that follow there. Held-out text says how much of it "
        "anyone could guess."
    )
    return Section(title="Does it go on word for word?", lead=lead, table=tuple(rows))


def _asked_tokens(
    tracer: Tracer, split: str, prefix: int, continued: int, places: int
) -> list[int]:
    """Places spread evenly over a split, each with room before and behind it.

    Only where no symbol is unknown, and where what follows is more than a row of the same few.
    """
    tokens = tracer.tokens[split]
    last = len(tokens) - continued
    if last < prefix or places < 1:
        return []
    candidates = np.unique(np.linspace(prefix, last, places, dtype=np.int64))
    vocab = tracer.corpus.vocab
    asked = []
    for place in candidates.tolist():
        around = tokens.read(place - prefix, place + continued)
        unknown = vocab.has_unknown and not around.all()
        if not unknown and len(np.unique(around[prefix:])) >= min(_FEWEST_DISTINCT, continued):
            asked.append(place)
    return asked


def _agreed(
    engine: Engine, tracer: Tracer, split: str, places: list[int], prefix: int, continued: int
) -> np.ndarray:
    """For every place, how many symbols the model writes as they stand there, up to `continued`."""
    requests = [
        Request(
            number=number,
            num_chars=continued,
            temperature=0.0,
            prime=tracer.text(split, place - prefix, place),
        )
        for number, place in enumerate(places)
    ]
    vocab = tracer.corpus.vocab
    agreed = np.zeros(len(places), np.int64)
    for index, text in enumerate(engine.sample(requests)):
        place = places[index]
        written = vocab.encode(text)[prefix : prefix + continued]
        true = tracer.tokens[split].read(place, place + continued)
        different = np.flatnonzero(written != true)
        agreed[index] = different[0] if len(different) else continued
    return agreed


def _found(tracer: Tracer, split: str, place: int, prefix: int, continued: int) -> Reproduced:
    origin = tracer.origin(split, place)
    text = tracer.text(split, place, place + continued).decode("utf-8", "replace")
    return Reproduced(prefix=prefix, place=place, path=origin.path, offset=origin.offset, text=text)
