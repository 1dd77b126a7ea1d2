"""System metrics of a run: sent to a real server, left out where told, and never in the way."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.registry import system_metrics as module
from pipeline.registry.system_metrics import SWITCH, is_wanted, system_metrics
from pipeline.registry.tracking import Tracking
from tests.registering import with_database


def test_a_run_has_the_figures_of_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    tracking = Tracking(with_database(str(tmp_path)))
    run = tracking.client.create_run(tracking.experiment("x")).info.run_id
    wanted = {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"}
    with system_metrics(run, tracking.uri):
        for _ in range(200):
            found = set(tracking.client.get_run(run).data.metrics)
            if wanted <= found:
                break
            time.sleep(0.05)
    assert wanted <= found
    names = {thread.name for thread in threading.enumerate()}
    assert "SystemMetricsMonitor" not in names


@pytest.mark.parametrize(
    ("value", "wanted"), [(None, True), ("true", True), ("false", False), ("0", False)]
)
def test_they_can_be_turned_off(
    monkeypatch: pytest.MonkeyPatch, value: str | None, wanted: bool
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    if value is not None:
        monkeypatch.setenv(SWITCH, value)
    assert is_wanted() is wanted
    started: list[str] = []
    monkeypatch.setattr(module, "_start", lambda run, uri: started.append(run))
    with system_metrics("run", "uri"):
        pass
    assert started == (["run"] if wanted else [])


def monitor_that(monkeypatch: pytest.MonkeyPatch, made: type) -> None:
    fake = ModuleType("mlflow.system_metrics.system_metrics_monitor")
    fake.SystemMetricsMonitor = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.delenv(SWITCH, raising=False)


def test_a_machine_without_psutil_trains_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            raise ImportError("no psutil")

    monitor_that(monkeypatch, Fails)
    with system_metrics("run", "uri"):
        pass


def test_a_server_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    ended: list[bool] = []

    class Hangs:
        def __init__(self, *arguments: Any, **options: Any) -> None: ...

        def start(self) -> None: ...

        def finish(self) -> None:
            ended.append(answered.wait(30))
            raise OSError("too late")

    monitor_that(monkeypatch, Hangs)
    monkeypatch.setattr(module, "END_TIMEOUT_S", 0.01)
    with system_metrics("run", "uri"):
        pass
    assert ended == []
    answered.set()


def test_an_error_of_the_run_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "false")
    with pytest.raises(KeyboardInterrupt), system_metrics("run", "uri"):
        raise KeyboardInterrupt
