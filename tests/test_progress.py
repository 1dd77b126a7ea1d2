from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from pipeline import progress as module
from pipeline import terminal
from pipeline.progress import Display, Progress, Rate, bytes_of, duration, human, log_to_stderr


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1000"),
        (1000, "1.0k"),
        (1536, "1.5k"),
        (-1536, "-1.5k"),
        (999_949, "999.9k"),
        (1_000_000, "1.0M"),
        (2_340_000, "2.3M"),
        (1e9, "1.0G"),
        (1.25e12, "1250.0G"),
    ],
)
def test_a_count_with_a_prefix(count: float, text: str) -> None:
    assert human(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB")]
)
def test_a_number_of_bytes(count: float, text: str) -> None:
    assert bytes_of(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (0.6, "1s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (60, "1m00s"),
        (185, "3m05s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (7620, "2h07m"),
        (100 * 3600, "100h00m"),
    ],
)
def test_a_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Clock:
    """Time that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=one.monotonic))
    return one


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "unreasonable")


def test_a_line_every_few_seconds_and_one_at_the_end(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress("build c", 2000, "tokens")
    clock.now += 1.9
    progress.add(500)
    assert caplog.messages == []
    clock.now += 0.1
    progress.add(500, "1 of 2 shards")
    assert caplog.messages == [
        "build c: 1,000 tokens of 2,000 tokens (50%), 500 tokens/s, 2s left, 1 of 2 shards"
    ]
    clock.now += 1.9
    progress.add(600)  # the last line is not yet two seconds old
    assert len(caplog.messages) == 1
    clock.now += 0.1
    progress.add(400)
    assert caplog.messages[1:] == [
        "build c: 2,000 tokens of 2,000 tokens (100%), 500 tokens/s, 1 of 2 shards"
    ]
    progress.finish()  # the same again: not said twice
    assert len(caplog.messages) == 2
    progress.finish("done")
    progress.finish("done")
    assert caplog.messages[2:] == [
        "build c: 2,000 tokens of 2,000 tokens (100%), 500 tokens/s, done"
    ]


def test_a_job_without_work_says_so_at_the_end(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    Progress("read c", 0, "B").finish()
    assert caplog.messages == ["read c: 0 B"]


def test_how_often_is_the_callers_to_say(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress("train r", 100, "steps", every_s=5.0)
    clock.now += 4.9
    progress.add(1)
    assert caplog.messages == []
    clock.now += 0.1
    progress.add(1)
    assert caplog.messages == ["train r: 2 steps of 100 steps (2%), 0.4 steps/s, 4m05s left"]


def test_a_total_that_nobody_knows(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress("read c", 0, "B")
    clock.now += 4
    progress.add(6_000_000)
    assert caplog.messages == ["read c: 6.0 MB, 1.5 MB/s"]


def test_what_was_done_before_does_not_count_towards_the_rate(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress("train r", 100, "steps", start=40.0)
    clock.now += 2
    progress.add(10)
    assert progress.rate() == 5.0
    progress.add(30, earlier=True)
    assert progress.rate() == 5.0
    assert (progress.done, progress.start) == (80.0, 70.0)
    assert caplog.messages == ["train r: 50 steps of 100 steps (50%), 5 steps/s, 10s left"]


def test_a_rate_of_nothing_leaves_the_end_open(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress("train r", 100, "steps")
    clock.now += 2
    progress.add(0)
    assert caplog.messages == ["train r: 0 steps of 100 steps (0%), ? left"]


def test_start_up_does_not_count(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress("sample m", 100, "chars")
    clock.now += 60
    progress.begin()
    clock.now += 1
    progress.add(10)
    assert caplog.messages == []
    assert progress.rate() == 10.0


def test_before_any_time_has_passed_there_is_no_rate(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress("x", 0, "chars")
    assert progress.rate() == 0.0
    progress.add(2)
    assert progress.rate() == 0.0  # not 2 chars in a nanosecond
    progress.finish()
    assert caplog.messages == ["x: 2 chars"]


def test_work_that_is_heard_of_late_began_when_it_began(clock: Clock) -> None:
    progress = Progress("sample m", 100, "chars")
    clock.now += 60
    progress.begin(ago_s=4.0)
    progress.add(100)  # all of it in the first word that is heard
    assert progress.rate() == 25.0


def test_what_an_earlier_process_did_gives_no_rate(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress("sample m", 100, "chars")
    clock.now += 0.001
    progress.add(100, earlier=True)
    progress.finish()
    assert progress.rate() == 0.0
    assert caplog.messages == ["sample m: 100 chars of 100 chars (100%)"]


def test_a_rate_stands_when_the_work_is_over(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The JSON result, asked for later, says what the last line said."""
    progress = Progress("sample m", 100, "chars")
    clock.now += 4
    progress.add(100)
    progress.finish("2 files")
    clock.now += 4
    assert progress.rate() == 25.0
    assert caplog.messages[-1].endswith("(100%), 25 chars/s, 2 files")


def test_a_rate_counts_pauses_within_the_work(clock: Clock) -> None:
    rate = Rate()
    clock.now += 1
    rate.done += 100
    clock.now += 9  # an evaluation
    assert rate.per_second() == 10.0


def test_what_another_process_shows_is_not_logged_here(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress("train r", 100, "steps", is_shown=False)
    clock.now += 10
    progress.add(50)
    progress.finish("half")
    assert caplog.messages == []
    standing = progress.standing()
    assert (standing.done, standing.total, standing.note) == (50, 100, "half")
    assert standing.text == "50 steps of 100 steps (50%), 5 steps/s, 10s left, half"


class Live:
    """A live line that notes what it shows."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.shown: list[tuple[str, float, float]] = []
        self.closed = False
        Live.newest = self

    def show(self, text: str, done: float, total: float) -> None:
        self.shown.append((text, done, total))

    def close(self) -> None:
        self.closed = True

    newest: Live


def test_a_terminal_has_one_live_line_and_a_last_one(
    clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "is_live", lambda: True)
    monkeypatch.setattr(terminal, "LiveLine", Live)
    progress = Progress("read c", 100, "chars")
    for _ in range(10):
        clock.now += 1
        progress.add(10)
        progress.add(0)  # no time has passed: the line need not be drawn again
    assert caplog.messages == []
    assert Live.newest.what == "read c"
    assert len(Live.newest.shown) == 10
    assert Live.newest.shown[4] == ("50 chars of 100 chars (50%), 10 chars/s, 5s left", 50, 100)
    assert not Live.newest.closed
    progress.finish()
    assert Live.newest.closed
    assert caplog.messages == ["read c: 100 chars of 100 chars (100%), 10 chars/s"]


def test_a_display_shows_what_it_is_given_now_and_then(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    display = Display("train r", every_s=5.0)
    standings = [Progress("x", 9, "steps", start=start).standing() for start in (1.0, 2.0, 3.0)]
    for standing in standings:
        clock.now += 2.5
        display.show(standing)
    assert caplog.messages == ["train r: 2 steps of 9 steps (22%), ? left"]
    display.end(standings[2])
    display.end(standings[2])
    assert caplog.messages[1:] == ["train r: 3 steps of 9 steps (33%), ? left"]


@pytest.mark.parametrize(
    ("count", "text"), [(2.5, "2.5"), (9.96, "10.0"), (2.0, "2"), (10.4, "10"), (12_345, "12,345")]
)
def test_small_counts_have_a_decimal(
    clock: Clock, caplog: pytest.LogCaptureFixture, count: float, text: str
) -> None:
    clock.now += 1
    progress = Progress("x", 0, "steps")
    clock.now += 1
    progress.add(count)
    progress.finish()
    assert caplog.messages == [f"x: {text} steps, {text} steps/s"]


@pytest.fixture
def _levels() -> Iterator[None]:
    ours = logging.getLogger("unreasonable")
    before = ours.level
    yield
    ours.setLevel(before)


@pytest.mark.usefixtures("_levels")
def test_our_lines_are_shown_and_those_of_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: list[dict[str, object]] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **options: settings.append(options))
    module.log.setLevel(logging.WARNING)
    log_to_stderr()
    assert module.log.name == "unreasonable"
    assert module.log.level == logging.INFO
    ((handler,),) = [options.pop("handlers") for options in settings]
    assert isinstance(handler, terminal.StderrHandler)
    assert settings == [{"level": logging.WARNING, "format": "%(message)s"}]
