"""One function over many tasks: here, or on Ray's workers, with the same results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.tasks import ray_runner, run_here, watched


def squared(task: dict[str, Any]) -> dict[str, Any]:
    if task["n"] < 0:
        raise InputError(f"{task['n']} is below 0;\nraise it.")
    if task["n"] > 99:
        raise RuntimeError("a fault of ours")
    return {"square": task["n"] ** 2, "text": "ü", "none": None}


TASKS = [{"n": n, "much": "x" * 1000} for n in range(5)]
RESULTS = [(n, {"square": n * n, "text": "ü", "none": None}) for n in range(5)]


def test_here_tasks_run_one_after_another_as_results_are_asked_for() -> None:
    calls = []
    results = run_here(lambda task: calls.append(task) or task * 2, [3, 4, 5])
    assert isinstance(results, Iterator)
    assert calls == []
    assert next(results) == (0, 6)
    assert calls == [3]
    assert list(results) == [(1, 8), (2, 10)]
    assert list(run_here(squared, [])) == []


def test_here_an_error_of_a_task_is_raised_as_it_is() -> None:
    with pytest.raises(InputError, match="-1 is below 0"):
        list(run_here(squared, [{"n": 1}, {"n": -1}]))


@pytest.mark.parametrize("num_workers", [0, 1, 9])
def test_on_ray_every_task_has_its_result(local_ray: None, num_workers: int) -> None:
    assert sorted(ray_runner(num_workers)(squared, TASKS)) == RESULTS


def test_on_ray_an_input_error_comes_with_its_message_alone(local_ray: None) -> None:
    tasks = [{"n": 1}, {"n": -7}]
    with pytest.raises(InputError) as caught:
        list(ray_runner(1)(squared, tasks))
    assert type(caught.value) is InputError
    assert str(caught.value) == "-7 is below 0;\nraise it."


def test_on_ray_any_other_error_is_not_taken_for_one(local_ray: None) -> None:
    with pytest.raises(Exception, match="a fault of ours") as caught:
        list(ray_runner(1)(squared, [{"n": 100}]))
    assert not isinstance(caught.value, InputError)


def test_a_watched_runner_gives_what_it_is_given_and_shows_how_far_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    shown = watched(run_here, "double", [30, 12])
    assert list(shown(lambda task: task * 2, [1, 2])) == [(0, 2), (1, 4)]
    assert "double: 42 tokens of 42 tokens (100%)" in caplog.text
