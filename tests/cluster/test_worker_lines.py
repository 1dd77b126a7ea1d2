"""What of workers' lines is shown, with the dispatcher and printer of the Ray that is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from cluster.worker_lines import show_worker_lines, worth_showing

_EXPORTER = "Failed to establish connection to the %s exporter agent. They will not be exported."
NOISE = [
    f"[2026-05-01 12:00:00 E 1 2] core_worker_process.cc:842: {_EXPORTER % 'event+metrics'}",
    f"[2026-05-01 12:00:00 E 1 2] main.cc:1032: {_EXPORTER % 'metrics'}",
]


def test_known_noise_is_left_out_and_nothing_else() -> None:
    told = ["train m: 3 parameters", "RuntimeError: no space left", "  File x, line 1"]
    assert worth_showing([NOISE[0], *told, NOISE[1]]) == told


@pytest.fixture
def dispatcher() -> Iterator[object]:
    from ray._private.ray_logging import global_worker_stdstream_dispatcher as one

    before = list(one.handlers)
    yield one
    one.handlers = before


def test_lines_are_shown_as_workers_wrote_them(
    dispatcher: object, capsys: pytest.CaptureFixture[str]
) -> None:
    one: object = dispatcher
    one.add_handler("ray_print_logs", lambda data: print("Ray's own", file=sys.stderr))  # type: ignore[attr-defined]
    show_worker_lines()
    about = {"pid": 7, "ip": "127.0.0.1", "localhost": "127.0.0.1", "actor_name": "RayTrainWorker"}
    for lines in (["train m: 3 parameters", NOISE[0]], [NOISE[1]]):
        one.emit({**about, "is_err": True, "lines": lines})  # type: ignore[attr-defined]
    shown = capsys.readouterr()
    assert shown.err == "train m: 3 parameters\n"
    assert shown.out == ""


def test_a_ray_without_these_parts_shows_lines_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray._private.ray_logging", None)
    show_worker_lines()
