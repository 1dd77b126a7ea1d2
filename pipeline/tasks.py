"""Run one function over many tasks: here, or on the workers of a Ray cluster through Ray Data.

Whoever plans tasks (corpora, evaluation, explaining) plans them by what there is to do, never by
the number of workers, and orders results by the number of their task: so any number of workers
gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pipeline.errors import InputError
from pipeline.progress import Progress, log_to_stderr

# Runs a function over tasks and yields (index, result) as they complete. Results are JSON values.
Runner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[tuple[int, Any]]]


def run_here(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Run tasks one after another in this process."""
    for index, task in enumerate(tasks):
        yield index, function(task)


def watched(run: Runner, what: str, sizes: Sequence[int], unit: str = "tokens") -> Runner:
    """A runner that shows the progress of its tasks, each of which is so many of a unit."""

    def shown(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        progress = Progress(what, sum(sizes), unit)
        for index, result in run(function, tasks):
            progress.add(sizes[index])
            yield index, result
        progress.finish()

    return shown


def ray_runner(num_workers: int = 0) -> Runner:
    """Run tasks through Ray Data, one block and one CPU a task, at most `num_workers` at once (0:
    all CPUs).

    Results come in the order of completion. An InputError of a task is raised here, with its
    message alone.
    """
    if num_workers < 0:
        raise InputError(f"num_workers is {num_workers}; it must be at least 0, which is all CPUs.")

    def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        import ray
        import ray.data

        # each worker fetches its own task, not all of them
        given = [ray.put(task) for task in tasks]

        def one(row: dict[str, Any]) -> dict[str, Any]:
            log_to_stderr()
            index = row["id"]
            try:
                result = function(ray.get(given[index]))
            except InputError as error:
                # As a value: raised, it would arrive wrapped in the engine's traceback.
                return {"index": index, "result": "", "error": str(error)}
            return {"index": index, "result": json.dumps(result), "error": ""}

        # 18 ms a task in Ray Data: whoever plans tasks makes them large.
        dataset = ray.data.range(len(tasks), override_num_blocks=len(tasks))
        at_once = min(num_workers, len(tasks))
        compute = ray.data.TaskPoolStrategy(size=at_once) if num_workers else None
        for row in dataset.map(one, num_cpus=1, compute=compute).iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            yield row["index"], json.loads(row["result"])

    return run
