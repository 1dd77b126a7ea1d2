"""What closes what: by hand, and for any brackets against a reference that is slow and plain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.structure import nesting
from pipeline.evaluation.structure.nesting import Balance, bracket_events, outcomes


def told(code: bytes, wrong_closes: bool = False) -> list[tuple[str, int, str, int]]:
    events = bracket_events(code)
    return [
        (each.how, each.offset, each.name, each.opener) for each in outcomes(events, wrong_closes)
    ]


def test_each_fault_has_its_place() -> None:
    assert told(b"a(b)") == [("closed", 3, "(", 1)]
    assert told(b")") == [("stray", 0, "(", -1)]
    assert told(b"([)") == [("unclosed", 1, "[", 1), ("closed", 2, "(", 0)]
    assert told(b"(]") == [("wrong", 1, "[", 0), ("open", 0, "(", 0)]
    assert told(b"(]", wrong_closes=True) == [("wrong", 1, "[", 0)]
    assert told(b"{(") == [("open", 0, "{", 0), ("open", 1, "(", 1)]


@given(st.text("()[]{}", max_size=40))
def test_text_without_a_fault_is_text_that_reduces_to_openers(text: str) -> None:
    reduced = text
    for _ in text:
        for pair in ("()", "[]", "{}"):
            reduced = reduced.replace(pair, "")
    faults = {how for how, *_ in told(text.encode())} - {"closed", "open"}
    assert (not faults) == (not set(reduced) & set(")]}"))


def test_distances_are_from_the_opener_to_its_closer() -> None:
    balance = Balance("brackets", wrong_closes=False, by_distance=True)
    code = b"(" + b"x" * 9 + b")" + b"[" + b"x" * 10 + b"]" + b"{" + b"x" * 2000 + b")}"
    balance.add("a.c", code, bracket_events(code))
    found = balance.found()
    shares = {check.name: (check.count, check.out_of) for check in found.checks}
    assert shares == {
        "brackets: closers that close what is open": (3, 4),
        "brackets: openers that are closed": (3, 3),
        "brackets: closers, opened 1 to 10 bytes before": (1, 1),
        "brackets: closers, opened 11 to 100 bytes before": (1, 1),
        "brackets: closers, opened 101 to 1,000 bytes before": (0, 0),
        "brackets: closers, opened more than 1,000 bytes before": (1, 2),
    }
    place = found.checks[0].findings[0]
    assert (place.offset, place.kind) == (
        code.index(b")}"),
        f"closes {{ of byte {code.index(b'{')}",
    )


def test_what_the_end_cuts_is_a_figure_and_no_fault() -> None:
    balance = Balance("brackets", wrong_closes=False)
    balance.add("a", b"((x)", bracket_events(b"((x)"))
    found = balance.found()
    assert [(check.count, check.out_of) for check in found.checks] == [(1, 1), (1, 1)]
    assert found.figures[0].value == 1.0


def test_nesting_deeper_than_any_text_ends_the_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nesting, "DEEPEST", 3)
    assert told(b"((()))((((()")[-1] == ("too deep", 9, "(", 9)
    balance = Balance("brackets", wrong_closes=False)
    balance.add("a", b"((((", bracket_events(b"(((("))
    finding = balance.found().checks[1].findings[0]
    assert (finding.offset, finding.kind) == (3, "nested deeper than 3, not read on")
