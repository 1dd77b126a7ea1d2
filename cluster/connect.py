"""The one place that decides where Ray is:

$RAY_ADDRESS, else a local one that ends with the job.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.worker_lines import show_worker_lines

log = logging.getLogger("unreasonable")

# What workers need of the driver's environment, beyond what their own node has. Secrets are not
# forwarded: nodes have credentials of their own, and the dashboard shows a runtime environment.
FORWARDED = (
    "UNREASONABLE_ROOT",
    "UNREASONABLE_CACHE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)

CONNECT_TIMEOUT_S = 10.0  # long enough for a head that is far away
# The object store of a local Ray. It can be small: tasks return figures, text goes through files.
LOCAL_MEMORY_BYTES = 512 << 20


class ConnectionFailedError(Exception):
    """Ray cannot be reached; the message says what to do."""


@contextlib.contextmanager
def ray_session(num_cpus: int | None = None, *, dashboard: bool = True) -> Iterator[Any]:
    """Connect to Ray for the length of the block. A local Ray is shut down after it.

    `num_cpus` is for a local Ray; None is all that there are. Without `dashboard` a local Ray
    leaves more of the processor to the work; Ray Train needs it, for its state API.
    """
    address = os.environ.get("RAY_ADDRESS")
    # Defaults: what is set in the environment stays.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # How long Ray Train's report() may wait for the controller's next poll.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    # This is the coming default. Where it is unset, Ray says so at every start.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Read when Ray is imported: a worker's line is shown as the worker wrote it.
    os.environ.setdefault("RAY_DISABLE_WORKER_LOG_PREFIX", "1")
    if address:
        _check_address(address)
        where: dict[str, Any] = {"address": address}
    else:
        log.info("starting a local Ray; set RAY_ADDRESS to use a cluster")
        _set_local_environment()
        where = {
            # Given no address, Ray would join any cluster that it finds started on this machine.
            "address": "local",
            "num_cpus": num_cpus,
            "include_dashboard": dashboard,
            "object_store_memory": LOCAL_MEMORY_BYTES,
        }
    import ray

    runtime = {"env_vars": _forwarded()}
    try:
        ray.init(logging_level=logging.WARNING, runtime_env=runtime, **where)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConnectionFailedError(_why_not(address, error, ray.__version__)) from None
    _quiet_data()
    show_worker_lines()
    _tighten_token()
    try:
        yield ray
    finally:
        ray.shutdown()


def refusal(address: str, error: Exception) -> str:
    """Why a cluster did not take us in, and what to do: a line for each of the usual reasons."""
    text = " ".join(str(error).split())
    lower = text.lower()
    if _is_about_a_token(lower):
        refused = _says_status(lower, 403) or "invalid" in lower or "incorrect" in lower
        state = "refuses the token" if refused else "asks for a token"
        return (
            f"Ray at {address} {state}: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH "
            "to the cluster's token file."
        )
    if _says_status(lower, 403) or "forbidden" in lower:
        return (
            f"Ray at {address} refuses the token: set RAY_AUTH_TOKEN_PATH "
            "to the cluster's token file."
        )
    if _is_about_a_version(lower):
        return (
            f"Ray at {address} has another version: {text[:200]} "
            "Install the cluster's; requirements.lock pins ours."
        )
    if isinstance(error, ConnectionError | TimeoutError) or "connect" in lower:
        return (
            f"no Ray at {address}: check that the cluster is up and RAY_ADDRESS is right "
            f"({text[:120]})."
        )
    return f"Ray at {address}: {text[:300]}"


def say_root(root: str, argv: Sequence[str]) -> None:
    """In a job that was submitted to a cluster, log which root it uses.

    A submitter's $UNREASONABLE_ROOT stays where it is set, unless the runtime environment has it.
    """
    if not os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        return
    is_chosen = any(word.partition("=")[0] == "--root" for word in argv)
    if is_chosen or "UNREASONABLE_ROOT" in os.environ:
        log.info("root %s", root)
        return
    log.info(
        "root %s, this node's default: a submitter's $UNREASONABLE_ROOT does not come along; "
        "to choose another, give --root",
        root,
    )


def node_count() -> int:
    """Nodes that are alive in the connected cluster."""
    import ray

    return sum(1 for node in ray.nodes() if node["Alive"])


def _check_address(address: str) -> None:
    """Refuse a dashboard's address, and one where nothing listens."""
    if address.startswith(("http://", "https://")):
        raise ConnectionFailedError(
            f"RAY_ADDRESS is {address}, a dashboard: submit the job there "
            "(ray job submit --working-dir . -- python jobs/...), "
            "or give the head's own address, such as host:6379."
        )
    if address in ("auto", "local"):
        return  # words of Ray's own
    host, _, port = address.removeprefix("ray://").rpartition(":")
    is_port = port.isascii() and port.isdigit() and 0 < int(port[:9]) < 1 << 16
    if not host or not is_port or "/" in host:
        raise ConnectionFailedError(
            f"RAY_ADDRESS is {address!r}; it must be the head's HOST:PORT, such as head:6379, "
            "ray://HOST:PORT, or auto."
        )
    # Ray itself tries for minutes to reach a head that is not there.
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:  # ValueError: no host can be called so
        raise ConnectionFailedError(refusal(address, ConnectionError(str(error)))) from None


def _set_local_environment() -> None:
    # Once Ray is imported, it has read the mode, and a change would make its parts disagree about
    # the token. Unset, Ray turns token authentication on by itself, with a warning.
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    # The watcher asks whether a cloud is about to take a node away. None can take this machine.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")


def _forwarded() -> dict[str, str]:
    """The part of our environment that workers get."""
    # Ray refuses a name that both the job's submitter and its driver set.
    already_set = _job_env_vars()
    names = [name for name in FORWARDED if name in os.environ and name not in already_set]
    return {name: os.environ[name] for name in names}


def _job_env_vars() -> dict[str, str]:
    """What `ray job submit --runtime-env-json` set for this job; empty outside of such a job."""
    try:
        job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
        return dict(job["runtime_env"]["env_vars"])
    except (ValueError, KeyError, TypeError):
        return {}


def _why_not(address: str | None, error: Exception, ours: str) -> str:
    """Why ray.init failed. `ours` is our version of Ray."""
    text = " ".join(str(error).split())
    if not address:
        return f"cannot start a local Ray: {text[:300]}"
    if "connect" in text.lower():
        # Something listens there, or _check_address had refused it. Ray does not say what is wrong.
        return (
            f"Ray at {address} does not take us in: a wrong or missing token "
            "(RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH), or another version of Ray or Python "
            f"than ours, {ours} ({text[:120]})."
        )
    return refusal(address, error)


def _is_about_a_token(message: str) -> bool:
    signs = ("unauthenticated", "authentication is enabled but no", "token")
    return _says_status(message, 401) or any(sign in message for sign in signs)


def _says_status(message: str, code: int) -> bool:
    """Whether a message names an HTTP status, and not a port that holds it."""
    return bool(re.search(rf"(?<![\d:.]){code}(?!\d)", message))


def _is_about_a_version(message: str) -> bool:
    signs = ("mismatch", "incompatible", "not compatible")
    return "version" in message and any(sign in message for sign in signs)


def _quiet_data() -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # our own progress says more, and says it on stderr
    context.print_on_execution_start = False
    # Off: one task of ours may take hours, and says itself how far it is.
    context.execution_no_progress_timeout_s = -1
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # This one warns that the progress bars are off.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)


def _tighten_token() -> None:
    """Make Ray's authentication token readable by its owner alone:

    Ray writes it readable to all.
    """
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    if path.exists() and path.stat().st_uid == os.getuid():
        path.chmod(0o600)
