"""Rebuild corpora on a calendar, and train on what changed, by submitting Ray jobs.

Without --once it stays and looks every few seconds. Any number of these may run, and be killed: a
ledger under the root decides what is done. Exit status 1 after --once or --run_now: a firing has
failed and is not tried again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    from jobs.arguments import Parser
except ModuleNotFoundError as missing:  # a Python without the package
    from uninstalled import refuse  # type: ignore[import-not-found]  # it lies beside this file

    refuse(missing)
from jobs.command import late
from jobs.ending import conclude, show_table
from pipeline import storage
from pipeline.scheduling.calendar import utc_now
from pipeline.scheduling.ledger import Ledger
from pipeline.scheduling.load import load_schedules
from pipeline.scheduling.overview import ScheduleRow, overview, table
from pipeline.scheduling.perform import ClusterJobs, perform
from pipeline.scheduling.records import Attempt, Outcome
from pipeline.scheduling.scheduler import Scheduler
from pipeline.scheduling.watch import run_to_end, watch

HOUSE = Path(__file__).parent.parent
SCHEDULES = str(HOUSE / "cluster" / "schedule.yaml")
schedule_plan = late("jobs.plans", "schedule_plan")


def run(values: dict[str, Any]) -> dict[str, Any]:
    if values["dry_run"]:
        return schedule_plan(values)
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


def parser() -> Parser:
    own = Parser(description=__doc__)
    own.add_root()
    own.add_argument(
        "--schedule", metavar="URL", default=SCHEDULES, help=f"the schedules (default: {SCHEDULES})"
    )
    group = own.add_argument_group("what to do; without any of these: stay, and look again")
    for flag, about in (
        ("--list", "only show when each fires next and how it last came out"),
        ("--once", "look once, for a timer or a CronJob that calls again"),
        ("--dry_run", "only say what would be submitted"),
    ):
        group.add_argument(flag, action="store_true", help=about)
    group.add_argument(
        "--run_now",
        metavar="NAME",
        default="",
        help="fire this schedule now, and stay until it is over",
    )
    group.add_argument(
        "--perform", metavar="CORPUS/NUMBER", default="", help="used by the jobs that are submitted"
    )
    return own


def main(argv: list[str] | None = None) -> None:
    conclude(lambda: run(parser().parse_args(argv).as_dict()))


if __name__ == "__main__":
    main()
