"""Rebuild corpora on a calendar, and train on what changed, by submitting Ray jobs.

Without --once it stays and looks every few seconds. Any number of these may run, and be killed: a
ledger under the root decides what is done. Exit status 1 after --once or --run_now: a firing has
failed and is not tried again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.command import Parser, conclude, show_table
from pipeline import storage
from pipeline.scheduling.calendar import utc_now
from pipeline.scheduling.ledger import Attempt, Ledger, Outcome
from pipeline.scheduling.load import load_schedules
from pipeline.scheduling.overview import ScheduleRow, overview, table
from pipeline.scheduling.perform import ClusterJobs, perform
from pipeline.scheduling.scheduler import Scheduler
from pipeline.scheduling.watch import run_to_end, watch

HOUSE = Path(__file__).parent.parent


def run(values: dict[str, Any]) -> dict[str, Any]:
    root = storage.root_url(values["root"])
    ledger = Ledger(root)
    if values["perform"]:
        return perform(ledger, values["perform"], HOUSE, record)
    schedules = load_schedules(values["schedule"])
    if values["list"]:
        return {"root": root, "schedules": show(overview(schedules, ledger, utc_now()))}
    # Only from here on a cluster is needed: --list and submitted jobs ask none.
    from cluster.submission import RayJobs

    storage.check_writable(root)
    scheduler = Scheduler(schedules, ledger, ClusterJobs(RayJobs(), root), root)
    if values["run_now"]:
        run_to_end(scheduler, values["run_now"])
    elif values["once"]:
        scheduler.look(utc_now())
    else:
        show(overview(schedules, ledger, utc_now()))
        watch(scheduler)
    rows = overview(schedules, ledger, utc_now())
    failed = [row.schedule for row in rows if row.given_up]
    status = 1 if failed else 0
    return {"root": root, "schedules": show(rows), "failed": failed, "exit_status": status}


def show(rows: list[ScheduleRow]) -> list[dict[str, Any]]:
    """A table for people on stderr; the same as JSON is returned."""
    show_table(table(rows))
    return [row.to_json() for row in rows]


def record(attempt: Attempt, outcome: Outcome) -> None:
    """Log an attempt to MLflow's experiment `schedules`: failures show where people look."""
    from pipeline.registry.tracking import Tracking, best_effort

    # The root that the attempt's command names: its corpus and models are there.
    with best_effort(f"the schedule's {attempt.job_id}"):
        Tracking(attempt.root).log_attempt(attempt.job_id, attempt.to_json(), outcome.to_json())


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__)

    def option(flag: str, default: str, about: str) -> None:
        parser.add_argument(flag, type=str, default=default, help=about)

    def switch(flag: str, about: str) -> None:
        parser.add_argument(flag, action="store_true", help=about)

    option("--root", storage.default_root(), "where everything is kept: an fsspec URL")
    option("--schedule", str(HOUSE / "cluster" / "schedule.yaml"), "URL of the schedules")
    switch("--once", "look once, for a timer or a CronJob that calls again")
    switch("--list", "only show when each fires next and how it last came out")
    option("--run_now", "", "fire this schedule now, and stay until it is over")
    option("--perform", "", "used by submitted jobs: CORPUS/NUMBER")
    conclude(lambda: run(parser.parse_args(argv).as_dict()))


if __name__ == "__main__":
    main()
