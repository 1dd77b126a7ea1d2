"""The one place that decides where Ray is: $RAY_ADDRESS, else a local one that ends with the job."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger("unreasonable")

# What workers need of the driver's environment, beyond what their own node has. Secrets are not forwarded: nodes have
# credentials of their own, and a runtime environment can be read in the dashboard.
FORWARDED = (
    "UNREASONABLE_ROOT",
    "UNREASONABLE_CACHE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)

LOCAL_MEMORY_BYTES = 512 << 20  # object store of a local Ray: results are small, text goes through files


class ConnectionFailedError(Exception):
    """Ray cannot be reached; the message says what to do."""


@contextlib.contextmanager
def ray_session(num_cpus: int | None = None, *, dashboard: bool = True) -> Iterator[Any]:
    """Connect to Ray for the length of the block; a local Ray (with `num_cpus`, default all) is shut down after it.

    Without `dashboard` a local Ray leaves more of the processor to the work; Ray Train needs it, for its state API.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")  # how long report() waits for the controller
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the coming default; says so on every start otherwise
    address = os.environ.get("RAY_ADDRESS")
    forwarded = {name: os.environ[name] for name in FORWARDED if name in os.environ and name not in _job_env_vars()}
    options: dict[str, Any] = {"logging_level": logging.WARNING, "runtime_env": {"env_vars": forwarded}}
    if address:
        options["address"] = address
    else:
        log.info("starting a local Ray; set RAY_ADDRESS to use a cluster")
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # what Ray does unasked, with a warning
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # no cloud can take this node away
        # "local", or Ray would join whatever cluster it finds started on this machine.
        options |= {
            "address": "local",
            "num_cpus": num_cpus,
            "include_dashboard": dashboard,
            "object_store_memory": LOCAL_MEMORY_BYTES,
        }
    import ray

    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "a local Ray"
        raise ConnectionFailedError(
            f"cannot connect to {where}: {' '.join(str(error).split())[:300]} Check RAY_ADDRESS and the token."
        ) from None
    _quiet_data()
    _tighten_token()
    try:
        yield ray
    finally:
        ray.shutdown()


def _job_env_vars() -> dict[str, str]:
    """What `ray job submit --runtime-env-json` set for this job: Ray refuses the same names from the driver."""
    try:
        return dict(json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")["runtime_env"]["env_vars"])
    except (ValueError, KeyError, TypeError):
        return {}


def node_count() -> int:
    """Nodes that are alive in the connected cluster."""
    import ray

    return sum(1 for node in ray.nodes() if node["Alive"])


def _quiet_data() -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # our own progress says more, and says it on stderr
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # warns that the bars are off


def _tighten_token() -> None:
    """Ray writes its authentication token readable to all."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    if path.exists() and path.stat().st_uid == os.getuid():
        path.chmod(0o600)
