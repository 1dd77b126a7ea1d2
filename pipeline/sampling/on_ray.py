"""The adapter to Ray Data: an actor pool writes files (writer.py). Which actor writes a file
changes nothing in it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.engine.opening import open_engine
from pipeline.errors import InputError
from pipeline.progress import Progress, log_to_stderr
from pipeline.sampling.job import Job
from pipeline.sampling.plan import Plan, SampleRecord
from pipeline.sampling.writer import Writer

TALLY_EVERY_S = 2.0  # how often writers tell the tally, and the driver asks it


def write_on_ray(job: Job, progress: Progress) -> Iterator[list[SampleRecord]]:
    """Write the job's missing files on num_workers actors; yields records as groups of files are
    complete.
    """
    import ray
    import ray.data

    config = job.plan.config
    if config.use_gpu and not ray.cluster_resources().get("GPU"):
        raise InputError(
            "use_gpu needs GPUs, the cluster has none; leave it out, or add nodes that have them."
        )
    # Rows hold numbers of samples, not samples: each actor has the plan, with its primes, already.
    places = {sample.name: at for at, sample in enumerate(job.plan.samples)}
    tasks = [[places[sample.name] for sample in group] for group in job.groups()]
    items = [{"samples": json.dumps(task)} for task in tasks]
    # A block a task: Ray Data would put small rows together, and one actor would get them all.
    dataset = ray.data.from_items(items, override_num_blocks=len(items))
    # One task at a time: the first actor to start would take the others' groups otherwise.
    actors = ray.data.ActorPoolStrategy(
        size=min(config.num_workers, len(items)), max_tasks_in_flight_per_actor=1
    )
    shared = _shared(job.plan)
    # No CPU of its own: on a machine with two, it would take one from the writers.
    tally = ray.remote(num_cpus=0)(Tally).remote()
    written = dataset.map(
        RayWriter,
        fn_constructor_args=(shared, job.output, tally),
        compute=actors,
        num_cpus=1,
        num_gpus=1 if config.use_gpu else 0,
    )
    watch = _TallyWatch(tally, progress)
    try:
        for row in written.iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            yield [SampleRecord.from_json(record) for record in json.loads(row["records"])]
    finally:
        # On a cluster the tally would outlive the job.
        watch.stop()
        ray.kill(tally)


def _shared(plan: Plan) -> list[Any]:
    """References to the plan and the engine, fetched once a node.

    A node's actors read one copy of the weights, in shared memory. A GPU's actor has its own.
    """
    import ray

    if plan.config.use_gpu:
        return [ray.put(plan), None]
    engine = open_engine(plan.model, plan.precision)
    return [ray.put(plan.without_weights()), ray.put(engine)]


class RayWriter:
    """A Writer as Ray Data's actor: a row of sample numbers in, a row of records out."""

    def __init__(self, shared: list[Any], output: str, tally: Any) -> None:
        import ray

        log_to_stderr()
        plan: Plan = ray.get(shared[0])
        if shared[1] is None:
            engine = open_engine(plan.model, plan.precision, use_gpu=True)
        else:
            engine = ray.get(shared[1])
        self.writer = Writer(plan, output, engine)
        self.tally = tally

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        self.tally.begin.remote()
        samples = [self.writer.plan.samples[at] for at in json.loads(row["samples"])]
        teller = _Teller(self.tally)
        try:
            records = self.writer.write(samples, teller)
        except (InputError, OSError) as error:
            # As a value: raised, it would arrive wrapped in Ray's traceback.
            return {"records": "[]", "error": str(error)}
        teller.send()  # what came since it last spoke
        return {"records": json.dumps([record.to_json() for record in records]), "error": ""}


@dataclass(frozen=True)
class Heard:
    """What a tally has heard: new characters, by whether an earlier run wrote them, and for how
    many seconds there have been writers at work; None before the first.
    """

    chars: dict[bool, int]
    seconds: float | None


class Tally:
    """An actor that the writers tell how far they are, and the driver asks."""

    def __init__(self) -> None:
        self.chars = {False: 0, True: 0}
        self.began: float | None = None

    def begin(self) -> None:
        """A writer begins with a group of files; what came before the first was start-up."""
        if self.began is None:
            self.began = time.monotonic()

    def add(self, chars: int, earlier: bool) -> None:
        self.chars[earlier] += chars

    def read(self) -> Heard:
        """What has come since the last reading."""
        chars = self.chars
        self.chars = {False: 0, True: 0}
        seconds = None if self.began is None else time.monotonic() - self.began
        return Heard(chars, seconds)


class _Teller:
    """Tells the tally every TALLY_EVERY_S seconds, not at every block: a call to an actor is not
    free.
    """

    def __init__(self, tally: Any) -> None:
        self.tally = tally
        self.waiting = {False: 0, True: 0}
        self.last = 0.0

    def __call__(self, chars: int, earlier: bool) -> None:
        self.waiting[earlier] += chars
        if time.monotonic() - self.last >= TALLY_EVERY_S:
            self.send()

    def send(self) -> None:
        for earlier, chars in self.waiting.items():
            if chars:
                self.tally.add.remote(chars, earlier)
        self.waiting = {False: 0, True: 0}
        self.last = time.monotonic()


class _TallyWatch:
    """Shows on the driver what the tally hears, in a thread beside the rows."""

    def __init__(self, tally: Any, progress: Progress) -> None:
        self.tally = tally
        self.progress = progress
        self.has_begun = False
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True, name="tally")
        self.thread.start()

    def stop(self) -> None:
        self.ended.set()
        self.thread.join()
        self._read()

    def _watch(self) -> None:
        while not self.ended.wait(TALLY_EVERY_S):
            self._read()

    def _read(self) -> None:
        import ray

        try:
            heard: Heard = ray.get(self.tally.read.remote())
        except ray.exceptions.RayError:
            return  # its node is gone: progress is not shown, nothing else is lost
        if heard.seconds is not None and not self.has_begun:
            # When the writers began, not now: a short job is over by now, and would seem to have
            # taken no time at all.
            self.progress.begin(ago_s=heard.seconds)
            self.has_begun = True
        for earlier, count in heard.chars.items():
            self.progress.add(count, earlier=earlier)
