"""Claims: what a recipe expects of its own figures, as data in its `reproduce` section.

    reproduce:
      claims:
        - name: it beats xz on held-out text
          measured: evaluation.models[0].bits_per_byte
          comparison: below
          expected: evaluation.compressors[name=xz].cold_bits_per_byte
          post: what the post says of it
          must: true

`expected` is a number, two numbers for `between`, the figures of at least six seeds for `seeds`, a
text for `is`, or a path to another figure. A claim that `must` hold is a gate. With `corpus`, the
beginning of a fingerprint, it is judged on that text alone, and shown without a verdict on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline import kinds
from pipeline.errors import InputError
from pipeline.reproducing.bands import FEWEST_SEEDS, prediction_interval
from pipeline.reproducing.measured import ROOTS, measured, root_of
from pipeline.settings import nearest

COMPARISONS = ("above", "below", "at least", "at most", "between", "seeds", "is")
Verdict = Literal["holds", "fails", "not measured", "not run", "other text"]
_FIELDS = ("name", "measured", "comparison", "expected", "post", "must", "corpus")
_NEEDED = ("name", "measured", "comparison", "expected")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim, checked. `expected` holds numbers, or one text: a path, or what `is` asks for."""

    name: str
    measured: str
    comparison: str
    expected: tuple[float, ...] | str
    post: str = ""
    must: bool = False
    corpus: str = ""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim with its figure: what was measured, what was needed, and what follows."""

    claim: Claim
    value: float | str | None
    needed: str
    verdict: Verdict

    @property
    def fails_gate(self) -> bool:
        """Whether the recipe fails by it. What could not be measured does not pass a gate; a stage
        that was left out, or another text, says nothing.
        """
        return self.claim.must and self.verdict in ("fails", "not measured")

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.claim.name,
            "measured": self.claim.measured,
            "value": self.value,
            "comparison": self.claim.comparison,
            "needed": self.needed,
            "post": self.claim.post,
            "must": self.claim.must,
            "verdict": self.verdict,
        }


def read_claims(data: Any, recipe: str) -> tuple[Claim, ...]:
    """A recipe's claims, before anything runs. InputError names the claim that is none."""
    if not isinstance(data, list):
        raise InputError(f"recipe {recipe}: reproduce.claims must be a list of claims.")
    claims = []
    for number, each in enumerate(data, start=1):
        where = f"recipe {recipe}: claim {number}"
        try:
            claims.append(_read(each))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return tuple(claims)


def judge(claims: Sequence[Claim], evidence: Mapping[str, Any]) -> tuple[Judged, ...]:
    """Every claim held against the evidence, by the name of its kind (measured.ROOTS)."""
    fingerprint = str(measured("corpus.fingerprint", evidence) or "")
    return tuple(_judged(claim, evidence, fingerprint) for claim in claims)


def _judged(claim: Claim, evidence: Mapping[str, Any], fingerprint: str) -> Judged:
    value = _figure(measured(claim.measured, evidence))
    expected = claim.expected
    needed: Any = expected
    paths = [claim.measured]
    if isinstance(expected, str) and _is_path(expected):
        needed = _figure(measured(expected, evidence))
        paths.append(expected)
    limits = (needed,) if isinstance(needed, (int, float)) else needed
    shown = _needed(claim, limits)
    verdict: Verdict
    if any(root_of(path) not in evidence for path in paths):
        verdict = "not run"
    elif value is None or limits is None:
        verdict = "not measured"
    elif claim.corpus and not fingerprint.startswith(claim.corpus):
        verdict = "other text"
    else:
        verdict = "holds" if _holds(claim.comparison, value, limits) else "fails"
    return Judged(claim=claim, value=value, needed=shown, verdict=verdict)


def _holds(comparison: str, value: float | str, limits: Any) -> bool:
    if comparison == "is":
        wanted = limits if isinstance(limits, str) else limits[0]
        return value == wanted
    # A word is never above a number, nor a number below a word.
    if isinstance(value, str) or isinstance(limits, str):
        return False
    low, high = _range(comparison, limits)
    if comparison in ("above", "below"):
        return low < value < high
    return low <= value <= high


def _range(comparison: str, limits: tuple[float, ...]) -> tuple[float, float]:
    """The ends of what a comparison with numbers allows."""
    if comparison == "seeds":
        return prediction_interval(limits)
    if comparison == "between":
        return limits[0], limits[1]
    if comparison in ("above", "at least"):
        return limits[0], float("inf")
    return float("-inf"), limits[0]


def _needed(claim: Claim, limits: Any) -> str:
    """What a claim needs, for people, with the figure that a path led to."""
    if limits is None:
        return f"{claim.comparison} {claim.expected}"
    if isinstance(limits, str):
        return f"is {limits}"
    if claim.comparison in ("between", "seeds"):
        low, high = _range(claim.comparison, limits)
        of_seeds = f", by {len(limits)} seeds" if claim.comparison == "seeds" else ""
        return f"{low:.4g} to {high:.4g}{of_seeds}"
    return f"{claim.comparison} {limits[0]:.4g}"


def _figure(value: Any) -> float | str | None:
    """A figure or a word; None for what is neither, as a list."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) or kinds.accepts(float, value):
        return value
    return None


def _is_path(text: str) -> bool:
    return text.partition(".")[0] in ROOTS and "." in text


def _read(data: Any) -> Claim:
    if not isinstance(data, Mapping):
        raise InputError(f"{data!r} is no claim; it needs {', '.join(_NEEDED)}.")
    for key in data:
        if key not in _FIELDS:
            raise InputError(f"a claim has no {key}.{nearest(str(key), _FIELDS)}")
    missing = [key for key in _NEEDED if key not in data]
    if missing:
        raise InputError(f"{', '.join(missing)} is not given.")
    comparison = data["comparison"]
    if comparison not in COMPARISONS:
        hint = nearest(str(comparison), COMPARISONS)
        raise InputError(
            f"comparison is {comparison!r}; it must be one of {', '.join(COMPARISONS)}.{hint}"
        )
    for key in ("name", "measured", "post", "corpus"):
        if not isinstance(data.get(key, ""), str):
            raise InputError(f"{key} is {data[key]!r}; it must be text.")
    if not isinstance(data.get("must", False), bool):
        raise InputError(f"must is {data['must']!r}; it must be true or false.")
    root_of(data["measured"])
    return Claim(**{**data, "expected": _expected(comparison, data["expected"])})


def _expected(comparison: str, given: Any) -> tuple[float, ...] | str:
    if isinstance(given, str):
        if _is_path(given):
            root_of(given)
        elif comparison != "is":
            raise InputError(f"expected is {given!r}; it must be a number, or a path to one.")
        if comparison in ("between", "seeds"):
            raise InputError(f"expected is {given!r}; {comparison} needs a list of numbers.")
        return given
    numbers = tuple(given) if isinstance(given, list) else (given,)
    if not all(kinds.accepts(float, number) for number in numbers):
        raise InputError(f"expected is {given!r}; it must be numbers, or a path to one.")
    fewest = {"between": 2, "seeds": FEWEST_SEEDS}.get(comparison, 1)
    enough = len(numbers) >= fewest if comparison == "seeds" else len(numbers) == fewest
    if not enough:
        at_least = "at least " if comparison == "seeds" else ""
        raise InputError(
            f"expected has {len(numbers)} numbers; {comparison} needs {at_least}{fewest}."
        )
    if comparison == "between" and numbers[0] > numbers[1]:
        raise InputError(f"expected is {given!r}; the lower end comes first.")
    return numbers
