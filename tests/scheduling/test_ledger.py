from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import storage
from pipeline.errors import DamagedError, InputError
from pipeline.scheduling import ledger as module
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.records import FAILED, LOST, SUCCEEDED, Ended, Entry, Outcome, Started
from tests.scheduling.pretend import BROKEN, BUILT, attempt

KEPT = 5  # attempts that keep their files, here


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger whose clock stands, whose writer is called w, and that folds early."""
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 2000.5))
    monkeypatch.setattr(module, "KEPT", KEPT)
    one = Ledger(str(tmp_path))
    one.writer = "w"
    return one


def written(folder: Path) -> dict[str, str]:
    """All files under a folder, by their path in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


# ---- the files' bytes


def test_the_bytes_of_an_attempt(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.append(attempt(number=17))
    assert written(tmp_path) == {
        "schedules/c/000017.json": "\n".join(
            [
                "{",
                ' "by": "someone",',
                ' "command": [',
                '  "jobs/build_corpus.py",',
                '  "--recipe",',
                '  "r",',
                '  "--root",',
                '  "/r"',
                " ],",
                ' "corpus": "c",',
                ' "format": 1,',
                ' "instant": "20260501T120100Z",',
                ' "number": 17,',
                ' "retries": 2,',
                ' "retry_after_s": 60.0,',
                ' "schedule": "nightly",',
                ' "stage": "build",',
                ' "submitted": 1000.0,',
                ' "tried": 0',
                "}\n",
            ]
        )
    }


def test_the_bytes_of_what_became_of_it(ledger: Ledger, tmp_path: Path) -> None:
    built = Outcome(exit_status=0, seconds=1.5, result={"version": "v"})
    assert ledger.start(attempt(number=17))
    assert ledger.end(attempt(number=17), SUCCEEDED, built)
    assert written(tmp_path) == {
        "schedules/c/000017.started.json": ('{\n "by": "w",\n "host": "w",\n "time": 2000.5\n}\n'),
        "schedules/c/000017.ended.json": (
            '{\n "by": "w",\n "error": "",\n "exit_status": 0,\n "result": {\n  "version": "v"\n'
            ' },\n "seconds": 1.5,\n "status": "succeeded",\n "time": 2000.5\n}\n'
        ),
    }


def test_the_bytes_of_an_end_that_the_job_could_not_tell(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.end(attempt(), LOST, Outcome(error="gone"))
    assert written(tmp_path) == {
        "schedules/c/000001.ended.json": (
            '{\n "by": "w",\n "error": "gone",\n "status": "lost",\n "time": 2000.5\n}\n'
        )
    }


def test_a_schedule_is_known_since_it_was_first_seen(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.known_since("nightly", 3.5) == 3.5
    assert ledger.known_since("nightly", 4.5) == 3.5
    assert ledger.known_since("weekly", 4.5) == 4.5
    files = written(tmp_path)
    assert files["schedules/.known/nightly.json"] == '{\n "by": "w",\n "time": 3.5\n}\n'
    assert len(files) == 2


def test_entries_are_in_order_and_know_what_became_of_them(ledger: Ledger) -> None:
    assert ledger.entries("c") == []
    for number in (2, 10, 1):
        assert ledger.append(attempt(number=number))
    ledger.append(attempt(corpus="d", number=3))
    ledger.start(attempt(number=2))
    ledger.end(attempt(number=2), FAILED, BROKEN)
    ledger.start(attempt(number=10))
    started = Started(time=2000.5, by="w", host="w")
    ended = Ended(time=2000.5, by="w", status=FAILED, outcome=BROKEN)
    assert ledger.entries("c") == [
        Entry(attempt(number=1), None, None),
        Entry(attempt(number=2), started, ended),
        Entry(attempt(number=10), started, None),
    ]
    assert [entry.status for entry in ledger.entries("c")] == ["submitted", "failed", "running"]
    assert ledger.entry("c", 2) == ledger.entries("c")[1]
    assert ledger.entry("c", 10) == ledger.entries("c")[2]


def test_an_end_without_a_start_is_an_end(ledger: Ledger) -> None:
    ledger.append(attempt())
    ledger.end(attempt(), SUCCEEDED, BUILT)
    assert ledger.entry("c", 1).started is None
    assert ledger.entry("c", 1).status == "succeeded"


def test_files_of_others_are_no_attempts(ledger: Ledger, tmp_path: Path) -> None:
    ledger.append(attempt())
    folder = tmp_path / "schedules" / "c"
    for name in (".writing-000002.json-0123abcd", "notes.txt", "000003.json.bak", "README"):
        (folder / name).write_text("{}")
    assert [entry.attempt.number for entry in ledger.entries("c")] == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", r"/schedules/c/000001\.json is not what the scheduler writes; move it away\.$"),
        (
            '{"format": 2}',
            r"c/000001\.json is not a format 1 attempt; use the version that wrote it\.$",
        ),
        ("{}", "is not a format 1 attempt"),
        ("{", r"c/000001\.json is not JSON"),
    ],
)
def test_a_damaged_ledger_is_refused_by_name(
    ledger: Ledger, tmp_path: Path, text: str, message: str
) -> None:
    storage.write_bytes(str(tmp_path / "schedules" / "c" / "000001.json"), text.encode())
    with pytest.raises(DamagedError, match=message):
        ledger.entries("c")
    with pytest.raises(DamagedError, match=message):
        ledger.entry("c", 1)


# ---- each file once


def test_a_number_is_taken_once(tmp_path: Path) -> None:
    one, two = Ledger(str(tmp_path)), Ledger(str(tmp_path))
    mine = attempt(by=one.writer)
    assert one.append(mine)
    assert one.append(mine)  # a store that answers late: it is our own
    assert not two.append(attempt(by=two.writer))
    assert two.append(attempt(by=two.writer, number=2))
    assert two.append(attempt(by=two.writer, corpus="d"))
    assert one.entry("c", 1).attempt.by == one.writer


def test_a_job_starts_once(tmp_path: Path) -> None:
    one, two = Ledger(str(tmp_path)), Ledger(str(tmp_path))
    one.append(attempt())
    assert one.start(attempt())
    assert not two.start(attempt())
    started = two.entry("c", 1).started
    assert started is not None
    assert (started.by, started.host) == (one.writer, one.writer)


def test_the_first_word_about_an_end_counts(tmp_path: Path) -> None:
    one, two = Ledger(str(tmp_path)), Ledger(str(tmp_path))
    one.append(attempt())
    assert one.end(attempt(), SUCCEEDED, BUILT)
    assert not two.end(attempt(), FAILED, BROKEN)
    ended = two.entry("c", 1).ended
    assert ended is not None
    assert (ended.status, ended.outcome, ended.by) == (SUCCEEDED, BUILT, one.writer)


def test_no_two_writers_have_one_name(tmp_path: Path) -> None:
    names = {Ledger(str(tmp_path)).writer for _ in range(20)}
    assert len(names) == 20
    own = re.escape(f"{socket.gethostname()}-{os.getpid()}-")
    assert all(re.fullmatch(own + "[0-9a-f]{8}", name) for name in names)


def test_what_is_not_there_or_not_ours_is_one_line(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    folder = tmp_path / "schedules" / "c"
    with pytest.raises(InputError) as caught:
        ledger.entry("c", 8)
    assert str(caught.value) == (
        f"no attempt c/8 under {ledger.url}; is --root the scheduler's? See --list."
    )
    first = attempt()
    assert ledger.append(first)
    assert ledger.entry("c", 1).attempt == first
    for name in ("x1.json", "\u0661.json"):  # a digit, but none that a scheduler writes
        (folder / name).write_text("{}")
        with pytest.raises(DamagedError) as caught_too:
            ledger.entries("c")
        assert str(caught_too.value) == (
            f"{ledger.url} holds {name}, which no scheduler wrote; move it away."
        )
        (folder / name).unlink()
    (folder / "000001.started.json").write_text('{"odd": 1}')
    with pytest.raises(DamagedError) as caught_last:
        ledger.entry("c", 1)
    said = str(caught_last.value)
    start = f"{folder}/000001.json, or a note beside it, is not what the scheduler writes ("
    assert said.startswith(start)
    assert said.endswith("); move it away.")
    assert "Error: " in said.removeprefix(start)


# ---- what is read again


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read from now on, by name."""
    read: list[str] = []
    read_json = storage.read_json

    def noting(url: str) -> Any:
        read.append(Path(url).name)
        return read_json(url)

    monkeypatch.setattr(storage, "read_json", noting)
    return read


def test_what_has_ended_is_read_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 21):
        ledger.append(attempt(number=number))
        ledger.start(attempt(number=number))
        if number < 20:
            ledger.end(attempt(number=number), SUCCEEDED, BUILT)
    read = counted(monkeypatch)
    first = ledger.history("c")
    assert len(read) == 3 * 19 + 2
    read.clear()
    assert ledger.history("c") == first
    assert read == ["000020.json", "000020.started.json"]
    ledger.end(attempt(number=20), FAILED, BROKEN)
    ledger.tell(attempt(number=3))
    read.clear()
    after = ledger.history("c")
    assert read == ["000020.json", "000020.started.json", "000020.ended.json"]
    assert (after.entries[-1].status, after.entries[2].told) == ("failed", True)
    assert not after.entries[3].told
    read.clear()
    assert ledger.history("c") == after
    assert read == []


def test_since_when_a_schedule_is_known_is_read_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.known_since("nightly", 3.5)
    read = counted(monkeypatch)
    for _ in range(3):
        assert ledger.known_since("nightly", 4.5) == 3.5
    assert read == ["nightly.json"]


# ---- a wrong clock


def test_a_schedule_known_from_the_future_is_known_from_now_on(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hour = 3600.0
    assert ledger.known_since("nightly", 1e9) == 1e9
    assert ledger.known_since("nightly", 1e9 - hour) == 1e9  # clocks differ
    assert caplog.messages == []
    assert ledger.known_since("nightly", 1e9 - hour - 1) == 1e9 - hour - 1
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("schedule nightly is known since 2001-09-")
    assert "nightly.1.json" in [path.name for path in tmp_path.rglob("*")]
    # When the clock is right again, both are believed, and the later one counts.
    assert ledger.known_since("nightly", 1e9 - 60) == 1e9
    assert ledger.known_since("nightly", 2e9) == 1e9
    assert ledger.known_since("nightly", 1e8) == 1e8
    assert "nightly.2.json" in [path.name for path in tmp_path.rglob("*")]


# ---- a long row


def rows(ledger: Ledger, *numbers: int, **changes: Any) -> None:
    for number in numbers:
        assert ledger.append(attempt(number=number, **changes))
        ledger.end(attempt(number=number), SUCCEEDED, BUILT)


def fold(ledger: Ledger) -> None:
    ledger.fold("c", ledger.history("c"))


def test_a_long_row_is_folded_and_then_removed(ledger: Ledger, tmp_path: Path) -> None:
    rows(ledger, *range(1, 2 * KEPT + 1))
    fold(ledger)
    assert not any("summary" in name for name in written(tmp_path))  # twice as many may stay
    rows(ledger, 2 * KEPT + 1)
    whole = ledger.entries("c")
    fold(ledger)
    names = [Path(name).name for name in written(tmp_path)]
    assert [name for name in names if "summary" in name] == ["summary.1970.000006.json"]
    assert "000001.json" in names  # whoever lists the folder finds it in one of the two places
    assert ledger.entries("c") == Ledger(str(tmp_path)).entries("c") == whole[-KEPT:]
    fold(ledger)
    left = [Path(name).name for name in written(tmp_path)]
    assert sorted(name for name in left if name.endswith("ended.json")) == [
        f"{number:06d}.ended.json" for number in range(7, 12)
    ]
    fold(Ledger(str(tmp_path)))
    assert Ledger(str(tmp_path)).history("c").next_number == 12


def test_a_summary_is_replaced_by_one_that_holds_more(ledger: Ledger, tmp_path: Path) -> None:
    rows(ledger, *range(1, 15))
    fold(ledger)
    rows(ledger, *range(15, 26), submitted=40_000_000.0)  # in 1971
    for _ in range(2):
        fold(ledger)
    rows(ledger, *range(26, 37), submitted=40_000_000.0)
    for _ in range(2):
        fold(ledger)
    names = sorted(Path(name).name for name in written(tmp_path) if "summary" in name)
    assert names == ["summary.1970.000014.json", "summary.1971.000031.json"]
    history = Ledger(str(tmp_path)).history("c")
    counts = [summary.counts["nightly"]["succeeded"] for summary in history.summaries]
    assert counts == [14, 17]
    assert [entry.attempt.number for entry in history.entries] == list(range(32, 37))


def test_a_number_that_is_folded_is_taken(ledger: Ledger, tmp_path: Path) -> None:
    """By a scheduler that slept while others went on."""
    rows(ledger, *range(1, 12))
    for _ in range(2):
        fold(ledger)
    before = written(tmp_path)
    assert not Ledger(str(tmp_path)).append(attempt(number=5, by="sleeper"))
    assert written(tmp_path) == before


def test_files_that_vanish_while_they_are_read_are_in_a_summary(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(ledger, *range(1, 12))
    fold(ledger)
    reader = Ledger(str(tmp_path))
    listing = [storage.names(str(tmp_path / "schedules" / "c"))]
    stale = [name for name in listing[0] if "summary" not in name]
    fold(ledger)
    names = storage.names
    monkeypatch.setattr(storage, "names", lambda url: stale if stale_once.pop() else names(url))
    stale_once = [False, True]
    assert len(reader.history("c").entries) == KEPT


def test_a_damaged_summary_is_refused_by_name(ledger: Ledger, tmp_path: Path) -> None:
    url = tmp_path / "schedules" / "c" / "summary.2026.000120.json"
    storage.write_bytes(str(url), b'{"year": 2026}')
    with pytest.raises(
        DamagedError, match=r"summary\.2026\.000120\.json is not what the scheduler"
    ):
        ledger.history("c")


def test_those_who_fold_at_once_do_each_other_no_harm(ledger: Ledger, tmp_path: Path) -> None:
    rows(ledger, *range(1, 12))
    fold(ledger)
    one = ledger.history("c")
    two = Ledger(str(tmp_path)).history("c")
    ledger.fold("c", one)
    Ledger(str(tmp_path)).fold("c", two)
    assert len(ledger.entries("c")) == KEPT
