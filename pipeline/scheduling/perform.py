"""An attempt as a job of its own: how a scheduler submits it, and what the job does on the cluster.

The job is `python jobs/schedule.py --root ROOT --perform CORPUS/NUMBER`. It runs the attempt's
command once and records how that came out, so that the ledger knows it even if the cluster and its
memory of jobs are lost later.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline import runs, storage
from pipeline.errors import InputError
from pipeline.scheduling.config import TRAIN
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.records import FAILED, SUCCEEDED, Attempt, Outcome
from pipeline.scheduling.scheduler import JobState

log = logging.getLogger("unreasonable")

Record = Callable[[Attempt, Outcome], None]

_ERROR_CHARS = 500
# What the ledger keeps of the JSON line that a job ends with.
_KEPT = (
    "version",
    "built",
    "model",
    "champion",
    "val_bits_per_byte",
    "run_id",
    "url",
    "seconds",
)


class Cluster(Protocol):
    """A cluster that runs commands under ids."""

    def start(self, job_id: str, entrypoint: str) -> None:
        """Submit a command under an id; one that the cluster knows already is left alone."""

    def has_ended(self, job_id: str) -> bool | None:
        """Whether a job has ended, well or not; None for an id that the cluster does not know."""

    def output(self, job_id: str) -> str:
        """What a job has logged so far; "" where nobody knows."""


@dataclass(frozen=True)
class ClusterJobs:
    """A cluster's jobs as the scheduler sees them."""

    cluster: Cluster
    root: str

    def submit(self, attempt: Attempt) -> None:
        which = f"{attempt.corpus}/{attempt.number}"
        command = ["python", "jobs/schedule.py", "--root", self.root, "--perform", which]
        self.cluster.start(attempt.job_id, shlex.join(command))

    def state(self, job_id: str) -> JobState:
        has_ended = self.cluster.has_ended(job_id)
        if has_ended is None:
            return JobState.UNKNOWN
        return JobState.OVER if has_ended else JobState.UNDER_WAY

    def output(self, job_id: str) -> str:
        return self.cluster.output(job_id)


def perform(ledger: Ledger, which: str, folder: Path, record: Record) -> dict[str, Any]:
    """Run the command of an attempt, CORPUS/NUMBER, once, and record how it came out.

    `folder` is the project's: commands name jobs in it. `record` gets the outcome before the ledger
    does, so that whoever waits for the ledger finds it recorded.
    """
    attempt = _attempt(ledger, which)
    if not ledger.start(attempt):
        log.info("%s has been started before; nothing to do", attempt.job_id)
        return {"attempt": attempt.job_id, "status": "started before"}
    # This Python, not whichever `python` names: it has the job's packages.
    command = [sys.executable, *attempt.command]
    environment = {}
    if attempt.stage == TRAIN:
        run_id = training_run_id(attempt)
        environment[runs.RUN_ID_VARIABLE] = run_id
        if _is_unfinished(attempt.root, run_id):
            log.info("%s goes on with run %s of a try before", attempt.job_id, run_id)
            command += ["--resume", run_id]
    outcome = _run(command, folder, environment)
    record(attempt, outcome)
    ledger.end(attempt, SUCCEEDED if outcome.exit_status == 0 else FAILED, outcome)
    return {"attempt": attempt.job_id, **outcome.to_json()}


def training_run_id(attempt: Attempt) -> str:
    """The id of the run of a training, the same for all its tries: when it fired, and a digest."""
    what = [attempt.schedule, attempt.corpus, attempt.instant, *attempt.command]
    digest = storage.sha256_bytes("\n".join(what).encode())
    fired = attempt.instant.removesuffix("Z").replace("T", "-")
    return f"{fired}-{digest[:6]}"


def _is_unfinished(root: str, run_id: str) -> bool:
    run = runs.run_url(root, run_id)
    return runs.is_run(run) and not storage.exists(storage.join(run, runs.END))


def _attempt(ledger: Ledger, which: str) -> Attempt:
    """The attempt CORPUS/NUMBER. InputError for what is not written so, and for one that is not."""
    corpus, _, number = which.partition("/")
    # A corpus's name has no slash, so no attempt outside of the ledger can be named.
    is_number = number.isascii() and number.isdigit() and len(number) < 10
    is_written_so = bool(corpus) and is_number
    if not is_written_so:
        raise InputError(f"--perform is {which!r}; it must be CORPUS/NUMBER, such as notes/17.")
    return ledger.entry(corpus, int(number)).attempt


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> Outcome:
    """Run a job, its log passed on to ours. Its error is the last line that it logged."""
    began = time.monotonic()
    last_line = ""
    # Output goes to a file. Of two pipes that are read one after the other, the second may fill up
    # and block the job.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)  # what Ray shows as this job's log
            last_line = line.strip() or last_line
        exit_status = process.wait()
        output.seek(0)
        result = _last_json(output.read())
    return Outcome(
        error="" if exit_status == 0 else last_line[-_ERROR_CHARS:],
        exit_status=exit_status,
        seconds=round(time.monotonic() - began, 1),
        result={key: result[key] for key in _KEPT if key in result},
    )


def _last_json(output: str) -> dict[str, Any]:
    """The JSON object on the last line of a job's output; empty where there is none."""
    lines = output.splitlines()
    if not lines:
        return {}
    try:
        value = json.loads(lines[-1])
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
