"""One sampling job from end to end: the model fetched, files written, and a run in MLflow linked to the model version."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from pipeline import storage
from pipeline.experiment import told
from pipeline.registry import Registry, fetch_model
from pipeline.sampling.batch import Job, prepare, run
from pipeline.sampling.config import SampleConfig

log = logging.getLogger("unreasonable")

SMALL_BYTES, MOST_ARTIFACTS = 1 << 20, 20  # of samples kept beside the run in MLflow; the output folder has all


def run_sampling(config: SampleConfig, root: str, engine: Callable[[str], AbstractContextManager[Any]]) -> dict[str, Any]:
    """Write what the job's output lacks. `engine(output)` connects to Ray, and is entered only if there is something to do."""
    job = prepare(config, fetch_model(config.model, root), root)
    registry, tracked, anything = None, "", bool(job.missing)
    if job.plan.model.uri.startswith("models:"):  # a checkpoint's samples need no tracking server
        registry = Registry(root)
        with told("the sampling run"):
            version = registry.resolve(job.plan.model.uri)
            known, finished = registry.sampling_run(version, job.output, job.plan.digest)
            if not anything and (finished or not known):
                registry = None  # a job before this one has told all
            else:
                tracked = registry.start_sampling(version, job.output, job.plan.digest, _params(job))
    status = "FAILED"
    try:
        with engine(job.output) if anything else contextlib.nullcontext():
            result = run(job, local=not anything)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        log.info("stopped; the same command goes on from what is written in %s", job.output)
        raise
    finally:
        if registry and tracked:
            with told("the sampling run's end"):
                if status == "FINISHED":
                    figures = {key: result[key] for key in ("files", "chars", "mean_nats", "chars_per_sec")}
                    registry.log_samples(tracked, figures, _artifacts(job))
                registry.end_run(tracked, status)
    return {**result, "mlflow_run_id": tracked or None}


def _params(job: Job) -> dict[str, str]:
    settings = {key: value for key, value in job.plan.settings.items() if key not in ("identity", "primes", "format")}
    params = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
    return {**params, "primes": str(len(job.plan.primes)), "precision": job.plan.precision}


def _artifacts(job: Job) -> dict[str, bytes]:
    """samples.jsonl and the first small files."""
    small = [name for name, record in job.records.items() if record["bytes"] <= SMALL_BYTES]
    names = sorted(small)[:MOST_ARTIFACTS]
    return {name: storage.read_bytes(storage.join(job.output, name)) for name in ["samples.jsonl", *names]}
