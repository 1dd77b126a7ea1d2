"""Long work in a thread: the first signal asks it to stop, the second interrupts."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator

import pytest

from pipeline.training.stopping import SIGNALS, run_until_asked_to_stop

WAIT_S = 30  # only a test that fails waits so long


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Other handlers than pytest's before, and the same ones after."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    yield
    now = [signal.getsignal(number) for number in SIGNALS]
    for number, handler in before.items():
        signal.signal(number, handler)
    assert now == [signal.SIG_IGN] * 2


def no_question() -> None:
    raise AssertionError("nobody asked to stop")


def test_ctrl_c_and_sigterm_are_heard() -> None:
    assert SIGNALS == (signal.SIGINT, signal.SIGTERM)


def test_work_that_nobody_stops_returns_its_result() -> None:
    threads = []

    def work() -> str:
        threads.append(threading.current_thread())
        return "done"

    assert run_until_asked_to_stop(work, no_question) == "done"
    assert threads[0] is not threading.main_thread()
    assert threads[0].daemon


def test_an_error_of_the_work_is_the_callers() -> None:
    def work() -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        run_until_asked_to_stop(work, no_question)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_once_and_the_result_comes(
    number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    asked = threading.Event()
    questions = []

    def work() -> int:
        signal.raise_signal(number)  # reaches the main thread, which waits
        assert asked.wait(WAIT_S)
        return len(questions)

    def ask() -> None:
        questions.append(number)
        asked.set()

    with caplog.at_level(logging.INFO, "unreasonable"):
        assert run_until_asked_to_stop(work, ask) == 1
    assert questions == [number]
    assert [record.message for record in caplog.records] == [
        "stopping: this step will be finished and a checkpoint written; once more to interrupt"
    ]


def test_the_second_signal_interrupts() -> None:
    released = threading.Event()
    questions = []

    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        released.wait(WAIT_S)

    def ask() -> None:
        questions.append(1)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        run_until_asked_to_stop(work, ask)
    released.set()
    assert questions == [1]


def test_off_the_main_thread_it_just_runs() -> None:
    seen = []

    def call() -> None:
        result = run_until_asked_to_stop(threading.current_thread, no_question)
        seen.append((result, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert seen == [(thread, signal.SIG_IGN)]
