"""The conductor tells workers to stop, and gives up a run that comes no further."""

from __future__ import annotations

from pipeline.progress import Standing
from pipeline.training.conductor import GIVE_UP_AFTER, Conductor


def test_three_restarts_without_progress_are_enough() -> None:
    assert GIVE_UP_AFTER == 3


def test_a_run_that_gets_no_further_is_given_up() -> None:
    conductor = Conductor()
    assert conductor.begin() == ""
    conductor.reach(50)
    for _ in range(GIVE_UP_AFTER):
        assert conductor.begin() == ""
        conductor.reach(40)
        conductor.reach(50)
    conductor.fail("RuntimeError: first")
    conductor.fail("RuntimeError: the same again")
    assert conductor.begin() == (
        "the run made no progress over 3 restarts at step 50: RuntimeError: the same again. "
        "Remove the cause, then go on with --resume."
    )
    assert "over 4 restarts" in conductor.begin()


def test_workers_that_died_without_a_word() -> None:
    conductor = Conductor()
    assert [conductor.begin() for _ in range(3)] == [""] * 3
    assert conductor.begin() == (
        "the run made no progress over 3 restarts at step 0; workers died without a word, "
        "as for want of memory. Remove the cause, then go on with --resume."
    )


def test_progress_starts_the_count_again() -> None:
    conductor = Conductor()
    assert [conductor.begin() for _ in range(3)] == [""] * 3
    conductor.reach(0)  # a step was never reached before
    assert [conductor.begin() for _ in range(3)] == [""] * 3
    conductor.reach(1)
    assert [conductor.begin() for _ in range(3)] == [""] * 3
    assert "over 3 restarts at step 1;" in conductor.begin()


def test_how_far_the_run_is() -> None:
    conductor = Conductor()
    assert conductor.read() is None
    conductor.reach(3, Standing(3, 9, "3 of 9"))
    assert conductor.read() == Standing(3, 9, "3 of 9")
    conductor.reach(2)  # by a worker that says no more than its step
    assert conductor.read() == Standing(3, 9, "3 of 9")
    conductor.reach(2, Standing(2, 9, "2 of 9"))  # a restarted group begins at its checkpoint
    assert conductor.read() == Standing(2, 9, "2 of 9")


def test_a_run_that_gets_further_is_not() -> None:
    conductor = Conductor()
    for step in range(20):
        assert conductor.begin() == ""
        assert not conductor.reach(step)
    conductor.ask_to_stop()
    assert conductor.reach(20)
    assert conductor.reach(21)
