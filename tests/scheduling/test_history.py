from __future__ import annotations

from typing import Any

from pipeline.scheduling.history import History, Summary, by_year, fold
from pipeline.scheduling.records import FAILED, LOST, SUCCEEDED, Ended, Entry, Outcome
from tests.scheduling.pretend import BROKEN, BUILT, attempt

SUMMER_2026 = 1_782_000_000.0


def entry(number: int, status: str = SUCCEEDED, **changes: Any) -> Entry:
    outcome = BUILT if status == SUCCEEDED else BROKEN
    ended = Ended(time=2.0, by="w", status=status, outcome=outcome)
    return Entry(attempt(number=number, submitted=SUMMER_2026, **changes), None, ended)


def training(number: int, version: str, status: str = SUCCEEDED) -> Entry:
    command = ("jobs/train.py", "--root", "/r", "--corpus", version)
    return entry(number, status, stage="train", command=command)


ROW = [
    entry(1),
    training(2, "c@v1"),
    entry(3, FAILED, schedule="other"),
    training(4, "c@v2", FAILED),
    training(5, "c@v2", LOST),
]


def test_a_summary_keeps_what_decisions_need() -> None:
    summary = fold(None, 2026, ROW)
    assert summary == Summary(
        year=2026,
        last=5,
        counts={
            "nightly": {"succeeded": 2, "failed": 1, "lost": 1},
            "other": {"failed": 1},
        },
        seconds={"nightly": 4.0, "other": 1.0},
        trained=("c@v1",),
        newest={"nightly": ROW[4], "other": ROW[2]},
    )
    assert Summary.from_json(summary.to_json()) == summary


def test_a_summary_grows_as_if_it_were_made_at_once() -> None:
    before = fold(None, 2026, ROW[:2])
    assert fold(before, 2026, ROW[2:]) == fold(None, 2026, ROW)
    assert before == fold(None, 2026, ROW[:2])  # it is not changed


def test_seconds_that_nobody_knows_count_nothing() -> None:
    lost = Entry(attempt(), None, Ended(time=1.0, by="w", status=LOST, outcome=Outcome()))
    assert fold(None, 1970, [lost]).seconds == {"nightly": 0.0}


def test_a_folded_row_decides_as_a_whole_one() -> None:
    whole = History(ROW)
    folded = History(ROW[3:], [fold(None, 2026, ROW[:3])])
    all_folded = History([], [fold(None, 2025, ROW[:3]), fold(None, 2026, ROW[3:])])
    for history in (whole, folded, all_folded):
        assert history.next_number == 6
        assert history.newest == {"nightly": ROW[4], "other": ROW[2]}
        assert history.has_trained_on("c@v1")
        assert not history.has_trained_on("c@v2")
        assert list(history.of("other")) == [ROW[2]]
        assert list(history.of("nightly"))[-1] == ROW[4]
    assert [whole.is_busy, History([Entry(attempt())]).is_busy] == [False, True]
    assert (History().last, History().next_number, History().is_busy) == (None, 1, False)
    assert list(folded.of("nightly")) == [ROW[1], *ROW[3:]]


def test_what_is_given_up() -> None:
    first = entry(1, FAILED, instant="1")
    again = entry(2, LOST, instant="1", tried=1)
    third = entry(3, FAILED, instant="1", tried=2)  # of two retries the last
    later = entry(4, FAILED, instant="2")
    of_another = entry(5, schedule="other", instant="3")
    assert list(History([first]).given_up("nightly")) == []
    assert list(History([first, again]).given_up("nightly")) == []
    assert list(History([first, again, third]).given_up("nightly")) == [third]
    assert list(History([first, of_another]).given_up("nightly")) == []
    assert list(History([first, later]).given_up("nightly")) == [first]
    assert list(History([first, again, entry(3, instant="2")]).given_up("nightly")) == [again]
    built = entry(1, instant="1")
    trained = entry(2, FAILED, instant="1", stage="train")
    assert list(History([built, trained]).given_up("nightly")) == []
    assert list(History([built, trained, later]).given_up("nightly")) == [trained]


def test_years_do_not_fall_when_a_clock_was_wrong() -> None:
    old = Entry(attempt(number=2, submitted=1000.0))
    assert by_year([ROW[0], old]) == {2026: [ROW[0], old]}
    assert by_year([old, ROW[0]]) == {1970: [old], 2026: [ROW[0]]}
