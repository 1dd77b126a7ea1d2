"""How a job ends: an error as one line on stderr, a result as one line of JSON, an exit status."""

from __future__ import annotations

import json
import logging
import math
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
    print(f"error: {plain(' '.join(message.split()))}", file=sys.stderr, flush=True)
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
    print(json.dumps(_finite(result), sort_keys=True, allow_nan=False), flush=True)
    status = INTERRUPTED if result.get("stopped") else int(result.get("exit_status", 0))
    if status:
        raise SystemExit(status)


def show_table(lines: Sequence[tuple[str, ...]]) -> None:
    """Log lines of cells in columns."""
    widths = [max(len(plain(cell)) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [plain(cell).ljust(width) for cell, width in zip(line, widths, strict=True)]
        log.info("%s", "  ".join(cells).rstrip())


def plain(text: str) -> str:
    """Text with its control characters written out: on a terminal they would be commands.

    Lines and tabs stay. Names, tags and cards of models come from anywhere.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text
    )


def _finite(value: Any) -> Any:
    """A result with null for each number that JSON does not have: no NaN, no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
