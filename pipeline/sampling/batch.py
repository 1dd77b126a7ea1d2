"""The Ray Data adapter of sampling: an actor pool writes files (writer.py), the driver publishes samples.jsonl last.

A job that is run again writes only what is missing. Which actor writes a file changes nothing in it.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline import storage
from pipeline.errors import DamagedError, InputError
from pipeline.progress import Progress, log_to_stderr
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.engine import Engine, open_engine
from pipeline.sampling.plan import Plan, Sample, make_plan
from pipeline.sampling.writer import LANES, PARTIAL, Writer
from pipeline.training.artifact import FetchedModel

log = logging.getLogger("unreasonable")

SAMPLES, SETTINGS = "samples.jsonl", "settings.json"
REFILLED = 4  # times the lanes of an actor, where texts end at different lengths
_LOOK_S = 2.0


@dataclass
class Job:
    """A plan with a folder that is its own. `records` are those of the files that are there, by name."""

    plan: Plan
    output: str
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def missing(self) -> list[Sample]:
        return [sample for sample in self.plan.samples if sample.name not in self.records]


def prepare(config: SampleConfig, model: FetchedModel, root: str) -> Job:
    """Check the settings, take the output folder for them, and see which files are there already.

    Raises InputError for primes outside the vocabulary, an output that cannot be written or holds other settings' samples.
    """
    plan = make_plan(config, model)
    output = storage.absolute(config.output or _default_output(root, plan))
    _claim(output, plan.settings, overwrite=config.overwrite)
    job = Job(plan, output, _records(output))
    if job.missing:
        storage.check_writable(output, option="--output")
        storage.write_json(storage.join(output, SETTINGS), plan.settings)
    return job


def run(job: Job, *, local: bool = False) -> dict[str, Any]:
    """Write the job's missing files, then samples.jsonl; returns a summary. `local` runs in this process, without Ray."""
    plan, missing = job.plan, job.missing
    config, total = plan.config, len(plan.samples)
    if job.records:
        log.info("sample %s: %d of %d files are there already", plan.model.uri, total - len(missing), total)
    known = 0 if config.stop or config.lines else len(missing) * config.num_chars
    progress = Progress(f"sample {plan.model.name}", known, "chars")
    if missing:
        log.info(
            "sample %s: %s files of %s characters, %s", plan.model.uri, len(missing), f"{config.num_chars:,}", plan.precision
        )
        groups = _groups(missing, config)
        for done in _here(groups, job, progress) if local else _on_ray(groups, job, progress):
            for record in done:
                job.records[record["file"]] = record
            progress.add(0, f"{total - len(job.missing)} of {total} files")
        progress.finish(f"{total} files")
    lines = [json.dumps(record, sort_keys=True) for record in _in_order(job)]
    _finish(job, "".join(f"{line}\n" for line in lines).encode())
    records = [job.records[sample.name] for sample in plan.samples]
    return {
        "output": job.output,
        "model": plan.model.uri,
        "precision": plan.precision,
        "files": total,
        "chars": sum(record["num_chars"] for record in records),
        "mean_nats": sum(record["mean_nats"] * record["num_chars"] for record in records)
        / sum(r["num_chars"] for r in records),
        "written": len(missing),
        "chars_per_sec": round(progress.rate()) if missing else None,
        "samples": storage.join(job.output, SAMPLES),
    }


def _finish(job: Job, text: bytes) -> None:
    """Publish samples.jsonl, then remove what it has made superfluous; other files' beginnings stay."""
    url = storage.join(job.output, SAMPLES)
    if not storage.exists(url) or storage.read_bytes(url) != text:
        storage.write_bytes(url, text)
    partial = storage.join(job.output, PARTIAL)
    for name in storage.names(partial):
        if name.removesuffix(".json") in job.records:
            storage.remove_tree(storage.join(partial, name))
    if storage.is_local(partial) and not storage.names(partial):
        storage.remove_tree(partial)


def sample_files(config: SampleConfig, model: FetchedModel, root: str, *, local: bool = False) -> dict[str, Any]:
    """`prepare` and `run`."""
    return run(prepare(config, model, root), local=local)


def _default_output(root: str, plan: Plan) -> str:
    """Where samples go unless told otherwise: a folder for each model and settings."""
    return storage.join(root, "samples", re.sub(r"[^\w.-]+", "-", f"{plan.model.name}-{plan.model.version}-{plan.digest}"))


def _claim(output: str, settings: dict[str, Any], *, overwrite: bool) -> None:
    """Take an output folder for these settings; one that holds anything else by our names is refused, or emptied."""
    try:
        there = storage.names(output)
        known = storage.read_json(storage.join(output, SETTINGS)) if SETTINGS in there else None
    except InputError:
        if not overwrite:
            raise
        known = None  # whatever it was
    except Exception as error:  # every store has exceptions of its own
        raise InputError(f"cannot look into {output}: {type(error).__name__}: {error}. Choose another --output.") from None
    there = [name for name in there if name.startswith("sample-") or name in (SAMPLES, PARTIAL, SETTINGS)]
    if known == settings or not there:
        return
    if not overwrite:
        raise InputError(f"{output} holds samples of other settings; choose another --output, or give --overwrite.")
    # settings.json goes last: a killed clearing is still refused without --overwrite.
    for name in sorted(there, key=lambda name: name == SETTINGS):
        storage.remove_tree(storage.join(output, name))


def _records(output: str) -> dict[str, dict[str, Any]]:
    """Records of the files that are there and have their size: from samples.jsonl, and those that a killed job left."""
    sizes, found = storage.sizes(output), []
    try:
        if SAMPLES in sizes:
            found += [json.loads(line) for line in storage.read_bytes(storage.join(output, SAMPLES)).splitlines()]
        left = [name for name in storage.names(storage.join(output, PARTIAL)) if name.endswith(".txt.json")]
        found += [storage.read_json(storage.join(output, PARTIAL, name)) for name in left]
        records = {str(record["file"]): record for record in found}
        return {name: record for name, record in records.items() if sizes.get(name) == record["bytes"]}
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise DamagedError(f"{output}/{SAMPLES} is not what a job writes ({error}); remove it, or give --overwrite.") from None


def _in_order(job: Job) -> list[dict[str, Any]]:
    """All records: this job's files, then those of an earlier job of the same settings that asked for more files."""
    names = [sample.name for sample in job.plan.samples]
    others = sorted(set(job.records) - set(names))
    return [job.records[name] for name in [*names, *others]]


def _groups(samples: list[Sample], config: SampleConfig) -> list[list[Sample]]:
    """One task each: as many for every actor, none with more than it can step at once (some times that, to refill lanes)."""
    most = LANES * (REFILLED if config.stop or config.lines else 1)
    rounds = -(-len(samples) // (config.num_workers * most))
    size = -(-len(samples) // (config.num_workers * rounds))
    return [samples[at : at + size] for at in range(0, len(samples), size)]


def _here(groups: list[list[Sample]], job: Job, progress: Progress) -> Iterator[list[dict[str, Any]]]:
    writer = Writer(job.plan, job.output, _engine(job.plan))
    progress.begin()
    for samples in groups:
        yield writer.write(samples, lambda chars, earlier: progress.add(chars, earlier=earlier))


def _engine(plan: Plan) -> Engine:
    return open_engine(plan.model, plan.precision, use_gpu=plan.config.use_gpu)


class RayWriter:
    """A Writer as Ray Data's actor: a row of sample numbers in, a row of records out."""

    def __init__(self, shared: list[Any], output: str, tally: Any) -> None:
        import ray

        log_to_stderr()
        plan: Plan = ray.get(shared[0])
        engine = ray.get(shared[1]) if shared[1] else None
        self.writer, self.tally = Writer(plan, output, engine or _engine(plan)), tally

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        samples = [self.writer.plan.samples[at] for at in json.loads(row["samples"])]
        teller = _Teller(self.tally)
        try:
            records = self.writer.write(samples, teller)
        except (InputError, OSError) as error:  # raised, Ray would wrap it; a person wants the line
            return {"records": "[]", "error": str(error)}
        teller.send()
        return {"records": json.dumps(records), "error": ""}


class Tally:
    """An actor that the writers tell how far they are, and the driver asks."""

    def __init__(self) -> None:
        self.chars = {False: 0, True: 0}

    def add(self, chars: int, earlier: bool) -> None:
        self.chars[earlier] += chars

    def read(self) -> dict[bool, int]:
        """What has come since the last reading."""
        chars, self.chars = self.chars, {False: 0, True: 0}
        return chars


class _Teller:
    """Tells the tally every _LOOK_S seconds, not at every block."""

    def __init__(self, tally: Any) -> None:
        self.tally, self.waiting, self.last = tally, {False: 0, True: 0}, 0.0

    def __call__(self, chars: int, earlier: bool) -> None:
        self.waiting[earlier] += chars
        if time.monotonic() - self.last >= _LOOK_S:
            self.send()

    def send(self) -> None:
        for earlier, chars in self.waiting.items():
            if chars:
                self.tally.add.remote(chars, earlier)
        self.waiting, self.last = {False: 0, True: 0}, time.monotonic()


def _on_ray(groups: list[list[Sample]], job: Job, progress: Progress) -> Iterable[list[dict[str, Any]]]:
    import ray
    import ray.data

    config = job.plan.config
    if config.use_gpu and not ray.cluster_resources().get("GPU"):
        raise InputError("use_gpu needs GPUs, the cluster has none; leave it out, or add nodes that have them.")
    numbers = {sample.name: at for at, sample in enumerate(job.plan.samples)}
    items = [{"samples": json.dumps([numbers[sample.name] for sample in group])} for group in groups]
    dataset = ray.data.from_items(items, override_num_blocks=len(items))
    # One task at a time: the first actor to start would take the others' groups otherwise.
    actors = ray.data.ActorPoolStrategy(size=min(config.num_workers, len(groups)), max_tasks_in_flight_per_actor=1)
    resources = {"num_cpus": 1, "num_gpus": 1 if config.use_gpu else 0}
    # Fetched once a node: a node's actors read one copy of the weights, in shared memory. A GPU's actor has its own.
    engine = None if config.use_gpu else ray.put(_engine(job.plan))
    shared = [ray.put(job.plan if config.use_gpu else job.plan.without_weights()), engine]
    tally = ray.remote(num_cpus=0)(Tally).remote()
    mapped = dataset.map(RayWriter, fn_constructor_args=(shared, job.output, tally), compute=actors, **resources)
    ended = threading.Event()

    def read() -> None:
        try:
            chars = ray.get(tally.read.remote())
        except ray.exceptions.RayError:  # its node is gone: progress is not shown, nothing else is lost
            return
        if chars[False] and progress.done == progress.start:
            progress.begin()  # the actors have started
        for earlier, count in chars.items():
            progress.add(count, earlier=earlier)

    def look() -> None:
        while not ended.wait(_LOOK_S):
            read()

    looking = threading.Thread(target=look, daemon=True, name="tally")
    looking.start()
    try:
        for row in mapped.iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            yield json.loads(row["records"])
    finally:
        ended.set()
        looking.join()
        read()
        ray.kill(tally)
