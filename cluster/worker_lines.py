"""What workers write, on the driver's terminal: without Ray's prefix, and without known noise."""

from __future__ import annotations

import re
from typing import Any

# Lines that Ray's own processes write on every machine, and that ask for nothing.
_NOISE = re.compile(
    r"metrics exporter agent"  # a local Ray has none
    r"|Failed to query Ray Train Controller actor state"  # of a run that is being stopped
    r"|Setting up process group for:"
    r"|Started distributed worker processes:"
    r"|^- \(node_id=.*\) world_rank="
)
_HANDLER = "ray_print_logs"  # Ray's name for what shows workers' lines


def show_worker_lines() -> None:
    """From now on workers' lines are shown this way. Ray must be initialised.

    This goes through parts of Ray that are not public. Where a version of Ray lacks them, Ray shows
    the lines itself.
    """
    try:
        from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher
        from ray._private.worker import print_to_stdstream
    except ImportError:
        return

    def show(data: dict[str, Any]) -> None:
        lines = worth_showing(data["lines"])
        if lines:
            print_to_stdstream({**data, "lines": lines}, ignore_prefix=True)

    dispatcher.remove_handler(_HANDLER)
    dispatcher.add_handler(_HANDLER, show)


def worth_showing(lines: list[str]) -> list[str]:
    """The lines that are no known noise."""
    return [line for line in lines if not _NOISE.search(line)]
