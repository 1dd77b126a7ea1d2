"""The one place that decides where Ray is: $RAY_ADDRESS, else a local one that ends with the job."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
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

LOOK_S = 10.0  # for a head that is far away
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
    if address and address.startswith(("http://", "https://")):
        raise ConnectionFailedError(
            f"RAY_ADDRESS is {address}, a dashboard: submit the job there (ray job submit --working-dir . -- python jobs/...), "
            "or give the head's own address, such as host:6379."
        )
    _check_there(address)
    options: dict[str, Any] = {"logging_level": logging.WARNING, "runtime_env": {"env_vars": forwarded}}
    if address:
        options["address"] = address
    else:
        log.info("starting a local Ray; set RAY_ADDRESS to use a cluster")
        if "ray" not in sys.modules:  # which read this when it was imported: its parts would disagree about the token
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
        if address and "connect" in str(error).lower():  # although something listens there
            raise ConnectionFailedError(
                f"Ray at {address} does not take us in: a wrong or missing token (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH), "
                f"or another version of Ray or Python than ours, {ray.__version__} ({' '.join(str(error).split())[:120]})."
            ) from None
        if address:
            raise ConnectionFailedError(refusal(address, error)) from None
        raise ConnectionFailedError(f"cannot start a local Ray: {' '.join(str(error).split())[:300]}") from None
    _quiet_data()
    _tighten_token()
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_there(address: str | None) -> None:
    """Ray asks for minutes for a head that is not there: look first whether anything listens."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_S).close()
    except OSError as error:
        raise ConnectionFailedError(refusal(str(address), ConnectionError(str(error)))) from None


def refusal(address: str, error: Exception) -> str:
    """Why a cluster did not take us in, and what to do: one line for each of the usual reasons."""
    text = " ".join(str(error).split())
    lower = text.lower()
    if "401" in text or "unauthenticated" in lower or "authentication is enabled but no" in lower or "token" in lower:
        wrong = "403" in text or "invalid" in lower or "incorrect" in lower
        state = "refuses the token" if wrong else "asks for a token"
        return f"Ray at {address} {state}: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the cluster's token file."
    if "403" in text or "forbidden" in lower:
        return f"Ray at {address} refuses the token: set RAY_AUTH_TOKEN_PATH to the cluster's token file."
    if "version" in lower and ("mismatch" in lower or "incompatible" in lower or "not compatible" in lower):
        return f"Ray at {address} has another version: {text[:200]} Install the cluster's; requirements.lock pins ours."
    if isinstance(error, ConnectionError | TimeoutError) or "connect" in lower:
        return f"no Ray at {address}: check that the cluster is up and RAY_ADDRESS is right ({text[:120]})."
    return f"Ray at {address}: {text[:300]}"


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
    context.execution_no_progress_timeout_s = -1  # a task of ours may take hours, and says so itself
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # warns that the bars are off


def _tighten_token() -> None:
    """Ray writes its authentication token readable to all."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    if path.exists() and path.stat().st_uid == os.getuid():
        path.chmod(0o600)
