"""How a job ends: an error as one line on stderr, a result as one line of JSON, an exit status."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from cluster.connect import ConnectionFailedError
from pipeline.errors import InputError
from pipeline.progress import log_to_stderr

log = logging.getLogger("unreasonable")

# Exit statuses. 2 is also what argparse gives; 130 is what a shell gives after Ctrl-C.
BAD_INPUT = 2
INTERRUPTED = 130


def fail(message: str) -> NoReturn:
    """One clear line on stderr and exit status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    raise SystemExit(BAD_INPUT)


def conclude(job: Callable[[], dict[str, Any] | None]) -> None:
    """Run a job, print its result as one JSON line, and end with its status.

    Bad input ends with one line on stderr and status 2, and a job that was asked to stop (its
    result says `stopped`) with 130. A result may name another `exit_status`. A job without a result
    has printed what was asked.
    """
    log_to_stderr()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    try:
        result = job()
    except (InputError, ConnectionFailedError) as error:
        # What a Ray task raises arrives as an InputError too, but with a traceback for its text.
        fail(str(getattr(error, "cause", None) or error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        raise SystemExit(INTERRUPTED) from None
    if result is None:
        return
    print(json.dumps(result, sort_keys=True), flush=True)
    status = INTERRUPTED if result.get("stopped") else int(result.get("exit_status", 0))
    if status:
        raise SystemExit(status)


def show_table(lines: Sequence[tuple[str, ...]]) -> None:
    """Log lines of cells in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        log.info("%s", "  ".join(cells).rstrip())
