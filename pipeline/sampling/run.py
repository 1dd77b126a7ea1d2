"""One sampling job from end to end: the model fetched, files written, and a run in MLflow linked to
the model version.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import storage
from pipeline.engine.opening import open_engine
from pipeline.model.artifact import ModelArtifact
from pipeline.progress import Progress
from pipeline.registry.fetch import fetch_model
from pipeline.registry.models import Models
from pipeline.registry.tracking import Tracking, best_effort
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.job import SAMPLES, Job, SampleResult, taken
from pipeline.sampling.on_ray import write_on_ray
from pipeline.sampling.plan import SampleRecord
from pipeline.sampling.writer import Writer

log = logging.getLogger("unreasonable")

# Of samples kept beside the run in MLflow; the output folder has all.
MAX_ARTIFACT_BYTES = 1 << 20
MAX_ARTIFACTS = 20


@dataclass(frozen=True)
class SamplingRun:
    """A sampling job as its job reports it: `mlflow_run_id` is None where nothing was told to a
    tracking server.
    """

    result: SampleResult
    mlflow_run_id: str | None

    def to_json(self) -> dict[str, Any]:
        return self.result.to_json() | {"mlflow_run_id": self.mlflow_run_id}


def run_sampling(
    config: SampleConfig, root: str, engine: Callable[[str], AbstractContextManager[Any]]
) -> SamplingRun:
    """Write what the job's output lacks.

    `engine(output)` connects to Ray, and is entered only if there is something to do.
    """
    with taken(config, fetch_model(config.model, root), root) as job:
        return _run_job(job, root, engine)


def _run_job(
    job: Job, root: str, engine: Callable[[str], AbstractContextManager[Any]]
) -> SamplingRun:
    """A job whose folder is held, with its run in MLflow."""
    run = None
    if job.plan.model.uri.startswith("models:"):  # a checkpoint's samples need no tracking server
        run = _TrackedRun.start(job, root)
    status = "FAILED"
    result = None
    has_work = bool(job.missing)
    try:
        # Records are checked and samples.jsonl is written even where all files are there.
        session = engine(job.output) if has_work else contextlib.nullcontext()
        with session:
            result = write_samples(job, local=not has_work)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        log.info("stopped; the same command goes on from what is written in %s", job.output)
        raise
    finally:
        if run:
            run.end(status, result)
    return SamplingRun(result, run.mlflow_id if run else None)


def sample_files(
    config: SampleConfig, model: ModelArtifact, root: str, *, local: bool = False
) -> SampleResult:
    """A sampling job of a model at hand, with no tracking server. `local` runs in this process,
    without Ray.
    """
    with taken(config, model, root) as job:
        return write_samples(job, local=local)


def write_samples(job: Job, *, local: bool = False) -> SampleResult:
    """Write the job's missing files, then samples.jsonl.

    `local` runs in this process, without Ray.
    """
    plan = job.plan
    config = plan.config
    missing = len(job.missing)
    total = len(plan.samples)
    if job.records:
        log.info(
            "sample %s: %d of %d files are there already", plan.model.uri, total - missing, total
        )
    chars_per_sec = None
    if missing:
        log.info(
            "sample %s: %s files of %s characters, %s",
            plan.model.uri,
            missing,
            f"{config.num_chars:,}",
            plan.precision,
        )
        ends_early = bool(config.stop or config.lines)
        # Where texts end early nobody knows how many characters there will be: 0 shows no total.
        expected_chars = 0 if ends_early else missing * config.num_chars
        progress = Progress(f"sample {plan.model.name}", expected_chars, "chars")
        write = _write_here if local else write_on_ray
        for records in write(job, progress):
            job.add(records)
            progress.add(0, f"{total - len(job.missing)} of {total} files")
        progress.finish(f"{total} files")
        chars_per_sec = round(progress.rate())
    job.finish()
    return job.result(missing, chars_per_sec)


def _write_here(job: Job, progress: Progress) -> Iterator[list[SampleRecord]]:
    plan = job.plan
    engine = open_engine(plan.model, plan.precision, use_gpu=plan.config.use_gpu)
    writer = Writer(plan, job.output, engine)
    progress.begin()  # the model is laid out: what came before was no sampling
    for samples in job.groups():
        yield writer.write(samples, lambda chars, earlier: progress.add(chars, earlier=earlier))


class _TrackedRun:
    """The job's run in MLflow. A job that finds nothing to do tells nothing, unless an earlier one
    was killed before it had told all.
    """

    def __init__(self, tracking: Tracking, mlflow_id: str, job: Job) -> None:
        self.tracking = tracking
        self.mlflow_id = mlflow_id
        self.job = job

    @classmethod
    def start(cls, job: Job, root: str) -> _TrackedRun | None:
        tracking = Tracking(root)
        with best_effort("the sampling run"):
            version = Models(tracking).resolve(job.plan.model.uri)
            identity = (version.name, version.uri, job.output, job.plan.digest)
            known, is_finished = tracking.sampling_run(*identity)
            was_killed_before_the_end = bool(known) and not is_finished
            if not job.missing and not was_killed_before_the_end:
                return None
            mlflow_id = tracking.start_sampling(
                *identity,
                _params(job),
                run_name=f"sample {version.name}/{version.version}",
                model_id=version.model_id,
            )
            return cls(tracking, mlflow_id, job)
        return None

    def end(self, status: str, result: SampleResult | None) -> None:
        with best_effort("the sampling run's end"):
            if result is not None and status == "FINISHED":
                values = asdict(result)
                figures = {
                    name: values[name] for name in ("files", "chars", "mean_nats", "chars_per_sec")
                }
                self.tracking.log_samples(self.mlflow_id, figures, _artifacts(self.job))
            self.tracking.end_run(self.mlflow_id, status)


def _params(job: Job) -> dict[str, str]:
    """The job's settings as MLflow params, which are text."""
    # The model is a tag and an input of the run; of the primes a param has room for their number.
    settings = {
        name: value
        for name, value in job.plan.settings.items()
        if name not in ("identity", "primes", "format")
    }
    params = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }
    return {**params, "primes": str(len(job.plan.primes)), "precision": job.plan.precision}


def _artifacts(job: Job) -> dict[str, bytes]:
    """samples.jsonl and the first small files."""
    small = [name for name, record in job.records.items() if record.bytes <= MAX_ARTIFACT_BYTES]
    names = [SAMPLES, *sorted(small)[:MAX_ARTIFACTS]]
    return {name: storage.read_bytes(storage.join(job.output, name)) for name in names}
