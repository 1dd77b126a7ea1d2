"""Those who are told of a failure: a server on loopback, and commands."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.scheduling import telling as module
from pipeline.scheduling.records import FAILED, Ended, Entry
from pipeline.scheduling.telling import MAX_WAIT_S, TELL_FOR_S, Telling, message, tell
from tests.scheduling.pretend import BROKEN, MINUTE, START, attempt, plan, scheduler_at

ENDED = 5000.0
ENTRY = Entry(attempt(tried=2), None, Ended(time=ENDED, by="w", status=FAILED, outcome=BROKEN))
MESSAGE = {
    "schedule": "nightly",
    "corpus": "c",
    "instant": "20260501T120100Z",
    "stage": "build",
    "tries": 3,
    "status": "failed",
    "error": "disk full",
    "job_id": "nightly-20260501T120100Z-build-2-c-1",
}


def after(seconds: float) -> datetime:
    return datetime.fromtimestamp(ENDED + seconds, UTC)


@dataclass
class Server:
    """A server that answers with given statuses, and then with 200."""

    answers: list[int] = field(default_factory=list)
    heard: list[tuple[str, str, bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.heard.append((self.path, self.headers["Content-Type"], body))
            self.send_response(state.answers.pop(0) if state.answers else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{listening.server_port}/secret-hook"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_a_url_gets_a_small_json_post(server: Server) -> None:
    assert message(ENTRY) == MESSAGE
    assert tell(server.url, message(ENTRY)) == ""
    ((path, kind, body),) = server.heard
    assert (path, kind) == ("/secret-hook", "application/json")
    assert json.loads(body) == MESSAGE
    assert len(body) < 1000


def test_a_server_that_refuses_is_told_again_later(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "unreasonable")
    server.answers = [503, 500]
    telling = Telling()
    assert not telling.tell(server.url, ENTRY, after(0))
    assert not telling.tell(server.url, ENTRY, after(14.9))  # it is not asked
    assert len(server.heard) == 1
    assert not telling.tell(server.url, ENTRY, after(15))
    assert not telling.tell(server.url, ENTRY, after(44.9))
    assert telling.tell(server.url, ENTRY, after(45))
    assert [json.loads(body) for _, _, body in server.heard] == [MESSAGE] * 3
    job = MESSAGE["job_id"]
    assert caplog.messages == [
        f"{job}: on_failure: the server answered 503; again in 15 s",
        f"{job}: on_failure: the server answered 500; again in 30 s",
        f"{job}: its schedule's on_failure has been told",
    ]


def test_waits_are_an_hour_at_most_and_a_day_later_nobody_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[float] = []
    monkeypatch.setattr(module, "tell", lambda *_: "away")
    telling = Telling()
    for minute in range(3 * 24 * 60):
        failed = telling.failed.copy()
        telling.tell("x", ENTRY, after(60.0 * minute))
        if telling.failed != failed:
            told.append(60.0 * minute)
    waits = [later - earlier for earlier, later in pairwise(told)]
    assert max(waits) == MAX_WAIT_S
    assert TELL_FOR_S - MAX_WAIT_S < told[-1] <= TELL_FOR_S
    assert telling.tell("x", ENTRY, after(TELL_FOR_S + 1)) is False


def test_a_server_that_is_not_there_is_one_line_without_the_url(server: Server) -> None:
    gone = "http://127.0.0.1:9/secret-hook"
    reason = tell(gone, MESSAGE)
    assert "refused" in reason
    assert "secret" not in reason
    assert "secret" not in tell("http://[bad/secret-hook", MESSAGE)
    assert tell("http://bad host/secret-hook", MESSAGE) != ""
    assert "secret" not in tell("http://bad host/secret-hook", MESSAGE)


def test_a_command_reads_the_json(tmp_path: Path) -> None:
    script = tmp_path / "notify.py"
    script.write_text("import sys; open(sys.argv[1], 'w').write(sys.stdin.read())")
    out = tmp_path / "a file"
    assert tell(f"{sys.executable} {script} '{out}'", MESSAGE) == ""
    assert json.loads(out.read_text()) == MESSAGE


def test_a_command_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tell("/no/such/command", MESSAGE) == (
        "the command did not start: No such file or directory"
    )
    script = tmp_path / "fail.py"
    script.write_text("import sys; print('first', file=sys.stderr); sys.exit('no mail server')")
    assert tell(f"{sys.executable} {script}", MESSAGE) == (
        "the command ended with status 1: no mail server"
    )
    script.write_text("raise SystemExit(3)")
    assert tell(f"{sys.executable} {script}", MESSAGE) == "the command ended with status 3: "
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.2)
    script.write_text("import time; time.sleep(60)")
    assert "ran for more than" in tell(f"{sys.executable} {script}", MESSAGE)


def test_a_scheduler_tells_a_server_until_it_hears(server: Server, tmp_path: Path) -> None:
    failing = plan("nightly", retries=0, on_failure=server.url, cron="1 12 * * *")
    scheduler, cluster = scheduler_at(tmp_path, failing)
    server.answers = [500]
    scheduler.look(START)
    scheduler.look(START + MINUTE)
    cluster.run(FAILED, BROKEN)
    for _ in range(3):
        scheduler.look(START + MINUTE)
    assert len(server.heard) == 1  # it is not asked again at once
    scheduler.look(START + 2 * MINUTE)
    scheduler.look(START + 20 * MINUTE)
    said = [json.loads(body) for _, _, body in server.heard]
    assert [each["job_id"] for each in said] == ["nightly-20260501T120100Z-build-0-pystdlib-1"] * 2
    assert (tmp_path / "schedules" / "pystdlib" / "000001.told.json").exists()
    assert "secret-hook" not in "".join(
        path.read_text() for path in (tmp_path / "schedules").rglob("*.json")
    )
