"""Rebuild corpora on a calendar, and train on what changed, by submitting Ray jobs.

Without --once it stays and looks every few seconds. Any number of these may run, and be killed: a ledger under the root
decides what is done. Exit status 1 after --once or --run_now: a firing has failed and is not tried again.
"""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.command import Parser, conclude, show_table
from pipeline import storage
from pipeline.progress import duration
from pipeline.scheduling.config import Schedule, load_schedules
from pipeline.scheduling.ledger import FAILED, SUCCEEDED, Attempt, Ledger
from pipeline.scheduling.scheduler import Scheduler, overview

log = logging.getLogger("unreasonable")

HOUSE = Path(__file__).parent.parent
LOOK_S = 5.0
ERROR_CHARS = 500
KEPT = ("version", "built", "model", "champion", "val_bits_per_byte", "run_id", "url", "seconds")  # of a job's result


@dataclass(frozen=True)
class Submitted:
    """Attempts as Ray jobs: each is this file again, with --perform, on the cluster."""

    jobs: Any
    root: str

    def submit(self, attempt: Attempt) -> None:
        own = ["python", "jobs/schedule.py", "--root", self.root, "--perform", f"{attempt.corpus}/{attempt.number}"]
        self.jobs.start(attempt.job_id, shlex.join(own))

    def status(self, job_id: str) -> str | None:
        found: str | None = self.jobs.status(job_id)
        return found


def now() -> datetime:
    return datetime.now(UTC)


def run(values: dict[str, Any]) -> dict[str, Any]:
    root = storage.absolute(values["root"])
    if values["perform"]:
        return perform(Ledger(root), values["perform"])
    schedules = load_schedules(values["schedule"])
    if values["list"]:
        return show(schedules, Ledger(root), root)
    from cluster.submission import RayJobs

    storage.check_writable(root)
    scheduler = Scheduler(schedules, Ledger(root), Submitted(RayJobs(), root), root)
    if values["run_now"]:
        return run_now(scheduler, values["run_now"])
    if values["once"]:
        scheduler.look(now())
        return summary(scheduler)
    log.info("%d schedules; looking every %s; Ctrl-C ends the scheduler, not its jobs", len(schedules), duration(LOOK_S))
    show(schedules, scheduler.ledger, root)
    while True:
        patiently(scheduler)
        time.sleep(LOOK_S)


def patiently(scheduler: Scheduler) -> None:
    """Look, and go on where a cluster or a store is away for a while."""
    try:
        scheduler.look(now())
    except Exception as error:  # stores and clusters have exceptions of their own
        log.warning("looking again in %s: %s", duration(LOOK_S), " ".join(str(error).split())[:ERROR_CHARS])


def run_now(scheduler: Scheduler, name: str) -> dict[str, Any]:
    """Build, retry and train as a firing does, and stay until it is over."""
    attempt = scheduler.run_now(name, now())
    while True:
        time.sleep(1)
        scheduler.look(now())
        own = [e for e in scheduler.ledger.entries(attempt.corpus) if e.attempt.instant == attempt.instant]
        last = own[-1]
        if last.ended and last.retry_at() is None and scheduler.ledger.entries(attempt.corpus)[-1] == last:
            return summary(scheduler)


def show(schedules: list[Schedule], ledger: Ledger, root: str) -> dict[str, Any]:
    rows = overview(schedules, ledger, now())
    table = [("schedule", "corpus", "next", "last", "came out", "age")]
    for row in rows:
        out = " ".join(filter(None, [row["stage"], row["status"], row["error"] and f"({row['error'][:80]})"]))
        age = "" if row["age_s"] is None else duration(row["age_s"])
        table.append((row["schedule"], row["corpus"], row["next"] or "never", row["last"] or "", out, age))
    show_table(table)
    return {"root": root, "schedules": rows}


def summary(scheduler: Scheduler) -> dict[str, Any]:
    shown = show(scheduler.schedules, scheduler.ledger, scheduler.root)
    broken = [r["schedule"] for r in shown["schedules"] if r["status"] not in ("never", "submitted", "running", SUCCEEDED)]
    given_up = [row["schedule"] for row in shown["schedules"] if row["schedule"] in broken and not row["will_retry"]]
    return {**shown, "failed": given_up, "exit_status": 1 if given_up else 0}


def perform(ledger: Ledger, which: str) -> dict[str, Any]:
    """On the cluster: run an attempt's command, once, and record how it came out."""
    corpus, _, number = which.partition("/")
    attempt = ledger.entry(corpus, int(number)).attempt
    if not ledger.start(attempt, {"host": ledger.writer}):
        log.info("%s has been started before; nothing to do", attempt.job_id)
        return {"attempt": attempt.job_id, "status": "started before"}
    began = time.monotonic()
    status, result, error = _run([sys.executable, *attempt.command])
    about = {
        "exit_status": status,
        "seconds": round(time.monotonic() - began, 1),
        "result": {key: result[key] for key in KEPT if key in result},
        "error": "" if status == 0 else error[-ERROR_CHARS:],
    }
    _tell(attempt, about)  # before the last word: who waits for that finds the run in MLflow
    ledger.end(attempt, SUCCEEDED if status == 0 else FAILED, about)
    return {"attempt": attempt.job_id, "exit_status": status, **about}


def _run(command: list[str]) -> tuple[int, dict[str, Any], str]:
    """Run a job with its log passed on: its exit status, the JSON line it ended with, and the last line it logged."""
    last = ""
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(command, cwd=HOUSE, stdout=output, stderr=subprocess.PIPE, text=True, errors="replace")
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            last = line.strip() or last
        status = process.wait()
        output.seek(0)
        return status, _result(output.read()), last


def _result(output: str) -> dict[str, Any]:
    try:
        found = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _tell(attempt: Attempt, about: dict[str, Any]) -> None:
    """A run in MLflow's experiment `schedules` for each attempt: failures show where people look."""
    from pipeline.experiment import told
    from pipeline.registry import Registry

    root = attempt.command[attempt.command.index("--root") + 1]
    with told(f"the schedule's {attempt.job_id}"):
        Registry(root).log_attempt(attempt.job_id, vars(attempt), about)


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--root", type=str, default=storage.default_root(), help="where everything is kept: an fsspec URL")
    parser.add_argument("--schedule", type=str, default=str(HOUSE / "cluster" / "schedule.yaml"), help="URL of the schedules")
    parser.add_argument("--once", action="store_true", help="look once, for a timer or a CronJob that calls again")
    parser.add_argument("--list", action="store_true", help="only show when each fires next and how it last came out")
    parser.add_argument("--run_now", type=str, default="", help="fire this schedule now, and stay until it is over")
    parser.add_argument("--perform", type=str, default="", help="used by submitted jobs: CORPUS/NUMBER")
    conclude(lambda: run(parser.parse_args(argv).as_dict()))


if __name__ == "__main__":
    main()
