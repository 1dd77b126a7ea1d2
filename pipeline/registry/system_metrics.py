"""MLflow's system metrics of a run: processor, memory, disk, network, GPUs of the driver's machine.

MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false turns them off. They are taken every 10 s, or every
MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL seconds. Both are MLflow's own variables.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator

from pipeline.errors import TrackingError
from pipeline.registry.patience import within

SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
# Beginning and ending ask the server how the run is. One that does not answer must not hold up a
# run.
END_TIMEOUT_S = 5.0


@contextlib.contextmanager
def system_metrics(mlflow_id: str, uri: str) -> Iterator[None]:
    """Send system metrics of this machine to a run for the length of the block.

    They are best effort: whatever fails in them is not even a warning.
    """
    monitor = None
    if is_wanted():
        # The monitor asks the server for its run before it starts.
        with contextlib.suppress(TrackingError):
            monitor = within(END_TIMEOUT_S, uri, lambda: _start(mlflow_id, uri))
    try:
        yield
    finally:
        if monitor is not None:
            end = threading.Thread(target=_end, args=(monitor,), daemon=True, name="metrics-end")
            end.start()
            end.join(END_TIMEOUT_S)


def is_wanted() -> bool:
    return os.environ.get(SWITCH, "true").strip().lower() not in ("false", "0", "no", "off")


def _start(mlflow_id: str, uri: str) -> object | None:
    # It has an opinion on every failure, and a run that is over is one to it.
    logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        # A resumed run goes on with its steps: the same step again would be drawn over the first.
        monitor = SystemMetricsMonitor(mlflow_id, resume_logging=True, tracking_uri=uri)
        monitor.start()
    except Exception:  # psutil's, MLflow's and the server's
        return None
    return monitor


def _end(monitor: object) -> None:
    with contextlib.suppress(Exception):
        monitor.finish()  # type: ignore[attr-defined]
