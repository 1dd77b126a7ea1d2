"""Claims: data in, verdicts out."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.evaluation.structure.check import Checker
from pipeline.explaining.milestones import Sampled, milestones
from pipeline.recipes import load_recipe, recipe_names
from pipeline.reproducing.claims import judge, read_claims
from pipeline.reproducing.measured import steps

EVIDENCE: dict[str, Any] = {
    "corpus": {"fingerprint": "abcdef123"},
    "evaluation": {
        "models": [{"bits_per_byte": 1.6, "unit": "byte", "whole": True}],
        "compressors": [{"name": "xz", "cold": 1.9}],
        "share": None,
    },
}
SEEDS = [1.58, 1.6, 1.61, 1.59, 1.62, 1.6]


def claim(
    comparison: str, expected: Any, path: str = "models[0].bits_per_byte", **more: Any
) -> Any:
    measured = path if path.startswith("explanation") else f"evaluation.{path}"
    return {
        "name": "a claim",
        "measured": measured,
        "comparison": comparison,
        "expected": expected,
        **more,
    }


def verdict(given: dict[str, Any]) -> str:
    (judged,) = judge(read_claims([given], "mine"), EVIDENCE)
    return judged.verdict


@pytest.mark.parametrize(
    ("comparison", "expected", "found"),
    [
        ("below", 1.7, "holds"),
        ("below", 1.6, "fails"),
        ("at most", 1.6, "holds"),
        ("at most", 1.59, "fails"),
        ("above", 1.5, "holds"),
        ("above", 1.6, "fails"),
        ("at least", 1.6, "holds"),
        ("at least", 2, "fails"),
        ("between", [1.6, 1.7], "holds"),
        ("between", [1.61, 1.7], "fails"),
        ("is", 1.6, "holds"),
        ("is", 1.7, "fails"),
        ("seeds", SEEDS, "holds"),
        ("seeds", [figure + 1 for figure in SEEDS], "fails"),
        ("below", "evaluation.compressors[name=xz].cold", "holds"),
        ("above", "evaluation.compressors[name=xz].cold", "fails"),
        ("above", "evaluation.compressors[name=zip].cold", "not measured"),
        ("above", "explanation.found_units", "not run"),
        ("below", "evaluation.models[0].unit", "fails"),
    ],
)
def test_a_figure_is_held_against_what_is_expected(
    comparison: str, expected: Any, found: str
) -> None:
    assert verdict(claim(comparison, expected)) == found


def test_words_and_switches_can_be_asked_for() -> None:
    assert verdict(claim("is", "byte", "models[0].unit")) == "holds"
    assert verdict(claim("is", "char", "models[0].unit")) == "fails"
    assert verdict(claim("is", "yes", "models[0].whole")) == "holds"
    assert verdict(claim("above", 1, "models[0].unit")) == "fails"


def test_on_another_text_a_figure_is_shown_without_a_verdict() -> None:
    assert verdict(claim("below", 1.0, corpus="abcdef")) == "fails"
    other = read_claims([claim("below", 1.0, corpus="0123", must=True)], "mine")
    (judged,) = judge(other, EVIDENCE)
    assert (judged.verdict, judged.value, judged.fails_gate) == ("other text", 1.6, False)


@pytest.mark.parametrize(
    ("given", "fails"),
    [
        (claim("below", 1.0, must=True), True),
        (claim("below", 1.0), False),
        (claim("below", 2.0, must=True), False),
        # What the stage could not measure does not pass; a stage that was left out says nothing.
        (claim("below", 2.0, "share", must=True), True),
        (claim("below", 2.0, "nowhere", must=True), True),
        (claim("above", 1, "explanation.found_units", must=True), False),
    ],
)
def test_a_gate_fails_where_it_must_hold_and_does_not(given: Any, fails: bool) -> None:
    (judged,) = judge(read_claims([given], "mine"), EVIDENCE)
    assert judged.fails_gate == fails


def test_the_json_has_the_figure_and_what_was_needed() -> None:
    given = [
        claim("below", "evaluation.compressors[name=xz].cold", post="better than zip"),
        claim("seeds", SEEDS),
        claim("below", "evaluation.compressors[name=zip].cold"),
        claim("is", "byte", "models[0].unit"),
    ]
    first, *others = judge(read_claims(given, "mine"), EVIDENCE)
    assert first.to_json() == {
        "name": "a claim",
        "measured": "evaluation.models[0].bits_per_byte",
        "value": 1.6,
        "comparison": "below",
        "needed": "below 1.9",
        "post": "better than zip",
        "must": False,
        "verdict": "holds",
    }
    assert [each.needed for each in others] == [
        "1.452 to 1.748, by 6 seeds",
        "below evaluation.compressors[name=zip].cold",
        "is byte",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("x", "'x' is no claim; it needs name, measured"),
        ({"name": "a"}, "measured, comparison, expected is not given"),
        (claim("below", 1, mast=True), "a claim has no mast. Did you mean must"),
        (claim("bellow", 1), "comparison is 'bellow'; .* Did you mean below"),
        (claim("below", 1, must="no"), "must is 'no'; it must be true or false"),
        (claim("below", 1, name=3), "name is 3; it must be text"),
        (claim("below", 1, "models["), "is no path"),
        (claim("below", "a little"), "expected is 'a little'; it must be a number, or a path"),
        (claim("below", "evaluation.a["), "is no path"),
        (claim("below", [1, 2]), "expected has 2 numbers; below needs 1"),
        (claim("below", None), "expected is None; it must be numbers"),
        (claim("below", True), "expected is True; it must be numbers"),
        (claim("between", 1), "expected has 1 numbers; between needs 2"),
        (claim("between", [2, 1]), "the lower end comes first"),
        (claim("between", "evaluation.a"), "between needs a list of numbers"),
        (claim("seeds", SEEDS[1:]), "expected has 5 numbers; seeds needs at least 6"),
    ],
)
def test_what_is_no_claim_is_refused_by_its_number(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"recipe mine: claim 2: .*{message}"):
        read_claims([claim("below", 1), given], "mine")


def test_claims_are_a_list() -> None:
    with pytest.raises(InputError, match=r"reproduce.claims must be a list of claims"):
        read_claims({"name": "a"}, "mine")


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_claims_ask_for_checks_and_milestones_that_there_are(name: str) -> None:
    """A path with a misspelt name would never be measured, and no gate would say why."""
    claims = read_claims(load_recipe(name)["claims"], name)
    assert any(claim.must for claim in claims)
    assert read_claims(load_recipe(name, "post")["claims"], name) == claims
    checker = Checker.of(load_recipe(name)["kind"], b"int a;\nword\n" * 20)
    checks = {each.name for each in checker.report({"a": b"int a;\n"}).checks}
    reached = {each.name for each in milestones([Sampled(step=1, loss=1.0, sample="a")], "a b")}
    for claim in claims:
        for step in steps(claim.measured):
            if step.startswith("[name=") and ".checks[" in claim.measured:
                assert step.removeprefix("[name=") in checks
            elif step.startswith("[") and claim.measured.startswith("evolution.reached"):
                assert step[1:] in reached
