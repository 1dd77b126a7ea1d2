"""A sampling job's output folder: taken for one plan, looked through for what is there, and
finished.

    <output>/settings.json     what decides the files' bytes; another job's settings are refused
    <output>/sample-00000.txt
    <output>/samples.jsonl     all records, in file order; written last
    <output>/.partial/         see writer.py
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline import storage
from pipeline.errors import DamagedError, InputError
from pipeline.model.artifact import ModelArtifact, load_weights
from pipeline.sampling.claim import CLAIM, claimed
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.plan import Plan, Sample, SampleRecord, make_plan
from pipeline.sampling.writer import LANES, PARTIAL

SAMPLES = "samples.jsonl"
SETTINGS = "settings.json"
# Files in one task, as a multiple of an actor's lanes, where texts end at different lengths: lanes
# are refilled.
_REFILLS = 4


@dataclass(frozen=True, kw_only=True)
class SampleResult:
    """What a sampling job came to. `files` and `chars` are all of the job's, `written` those of
    this run of it.

    `chars_per_sec` is None where nothing was left to write.
    """

    output: str
    model: str
    precision: str
    files: int
    chars: int
    mean_nats: float
    written: int
    chars_per_sec: int | None
    samples: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Job:
    """A plan with a folder that is its own. `records` are those of the files that are there, by
    name.
    """

    plan: Plan
    output: str
    records: dict[str, SampleRecord] = field(default_factory=dict)

    @property
    def missing(self) -> list[Sample]:
        return [sample for sample in self.plan.samples if sample.name not in self.records]

    def groups(self) -> list[list[Sample]]:
        """The missing files as tasks: as many for every actor, none with more than it can step at
        once.

        Where texts end at different lengths a task has some times that many, to refill lanes.
        """
        config = self.plan.config
        missing = self.missing
        ends_early = bool(config.stop or config.lines)
        refills = _REFILLS if ends_early else 1
        rounds = _ceiling(len(missing), config.num_workers * LANES * refills)
        size = _ceiling(len(missing), config.num_workers * rounds)
        return [missing[at : at + size] for at in range(0, len(missing), size)]

    def add(self, records: list[SampleRecord]) -> None:
        for record in records:
            self.records[record.file] = record

    def finish(self) -> None:
        """Publish samples.jsonl, then remove what it has made superfluous; other files' beginnings
        stay.
        """
        # Not NaN, which is no JSON: who reads the file with another language could not.
        lines = [
            json.dumps(record.to_json(), sort_keys=True, allow_nan=False)
            for record in self._in_order()
        ]
        text = "".join(f"{line}\n" for line in lines).encode()
        url = storage.join(self.output, SAMPLES)
        # Left alone when it says the same: whoever watches the file sees no change without one.
        is_published = storage.exists(url) and storage.read_bytes(url) == text
        if not is_published:
            storage.write_bytes(url, text)
        partial = storage.join(self.output, PARTIAL)
        # After samples.jsonl: until that is there, these are the only records of finished files.
        for name in storage.names(partial):
            if name.removesuffix(".json") in self.records:
                storage.remove_tree(storage.join(partial, name))
        if storage.is_local(partial) and not storage.names(partial):
            storage.remove_tree(partial)  # an object store has no empty folders

    def result(self, written: int, chars_per_sec: int | None) -> SampleResult:
        """What the finished job came to, over all of its files."""
        plan = self.plan
        records = [self.records[sample.name] for sample in plan.samples]
        chars = sum(record.num_chars for record in records)
        # Weighted by length: texts that end early count for what they are.
        nats = sum(record.mean_nats * record.num_chars for record in records)
        return SampleResult(
            output=self.output,
            model=plan.model.uri,
            precision=plan.precision,
            files=len(records),
            chars=chars,
            mean_nats=nats / chars,
            written=written,
            chars_per_sec=chars_per_sec,
            samples=storage.join(self.output, SAMPLES),
        )

    def _in_order(self) -> list[SampleRecord]:
        """All records: this job's files, then those of an earlier job of the same settings that
        asked for more files.
        """
        names = [sample.name for sample in self.plan.samples]
        others = sorted(set(self.records) - set(names))
        return [self.records[name] for name in [*names, *others]]


@contextlib.contextmanager
def taken(config: SampleConfig, model: ModelArtifact, root: str) -> Iterator[Job]:
    """`prepare`, with the output folder held against other jobs for as long as the block runs.

    While another job writes there this one waits, and then goes on from what is there.
    """
    job, others = look(config, model, root)
    # A finished job only reads, so that its samples may lie where nobody may write any more.
    if not job.missing and not others:
        yield job
        return
    storage.check_writable(job.output, option="--output")
    with claimed(job.output):
        yield prepare(config, model, root)


def prepare(config: SampleConfig, model: ModelArtifact, root: str) -> Job:
    """Check the settings, take the output folder for them, and see which files are there already.

    Raises InputError for primes outside the vocabulary, an output that cannot be written or holds
    other settings' samples.
    """
    job, others = look(config, model, root)
    # settings.json goes last: a killed clearing is still refused without --overwrite.
    for name in sorted(others, key=lambda name: name == SETTINGS):
        storage.remove_tree(storage.join(job.output, name))
    # A finished job only reads, so that its samples may lie where nobody may write any more.
    if job.missing:
        load_weights(model.files, model.uri)  # refuses what would be found out on actors only
        storage.check_writable(job.output, option="--output")
        storage.write_json(storage.join(job.output, SETTINGS), job.plan.settings)
    return job


def look(config: SampleConfig, model: ModelArtifact, root: str) -> tuple[Job, list[str]]:
    """The job as its output folder stands, and the names in it that --overwrite would remove.

    Writes nothing. Raises InputError as `prepare`, but for an output that cannot be written.
    """
    plan = make_plan(config, model)
    output = storage.absolute(config.output or _default_output(root, plan))
    others = _of_other_settings(output, plan.settings, overwrite=config.overwrite)
    return Job(plan, output, {} if others else _records(output)), others


def _default_output(root: str, plan: Plan) -> str:
    """Where samples go unless told otherwise: a folder for each model and settings."""
    name = f"{plan.model.name}-{plan.model.version}-{plan.digest}"
    # A model may be named by a URL, whose slashes would make folders.
    return storage.join(root, "samples", re.sub(r"[^\w.-]+", "-", name))


def _of_other_settings(output: str, settings: dict[str, Any], *, overwrite: bool) -> list[str]:
    """What an output folder holds by our names when it was not made by these settings.

    Without `overwrite` anything there is refused.
    """
    known = None
    try:
        names = storage.names(output)
        if SETTINGS in names:
            known = storage.read_json(storage.join(output, SETTINGS))
    except DamagedError:
        if not overwrite:
            raise
        # Whatever it was, it is not these settings.
    except InputError:
        raise
    except Exception as error:  # every store has exceptions of its own
        raise InputError(
            f"cannot look into {output}: {type(error).__name__}: {error}. Choose another --output."
        ) from None
    ours = [name for name in names if _is_ours(name)]
    # On a store a job claims the folder before it looks into it.
    if (
        known is None
        and ours == [PARTIAL]
        and storage.names(storage.join(output, PARTIAL)) == [CLAIM.rpartition("/")[2]]
    ):
        return []
    if known == settings or not ours:
        return []
    if not overwrite:
        raise InputError(
            f"{output} holds samples of other settings; "
            "choose another --output, or give --overwrite."
        )
    return ours


def _is_ours(name: str) -> bool:
    return name.startswith("sample-") or name in (SAMPLES, PARTIAL, SETTINGS)


def _records(output: str) -> dict[str, SampleRecord]:
    """Records of the files that are there and have their size: from samples.jsonl, and those that a
    killed job left.
    """
    sizes = storage.sizes(output)
    lines: list[Any] = []
    try:
        if SAMPLES in sizes:
            published = storage.read_bytes(storage.join(output, SAMPLES))
            lines += [json.loads(line) for line in published.splitlines()]
        for name in storage.names(storage.join(output, PARTIAL)):
            if name.endswith(".txt.json"):
                lines.append(storage.read_json(storage.join(output, PARTIAL, name)))
        # Of two records of a file the later one counts: samples.jsonl is the older.
        records = {str(line["file"]): SampleRecord.from_json(line) for line in lines}
    except InputError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(
            f"{output}/{SAMPLES} is not what a job writes ({error}); "
            "remove it, or give --overwrite."
        ) from None
    # A file of another size is half written, or not ours: it is sampled again.
    return {name: record for name, record in records.items() if sizes.get(name) == record.bytes}


def _ceiling(count: int, divisor: int) -> int:
    return -(-count // divisor)
