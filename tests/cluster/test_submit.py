"""`ray job submit` against a real head node on loopback with token authentication."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

HOUSE = Path(__file__).parent.parent.parent
RAY = str(Path(sys.executable).with_name("ray"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A head node of its own, and the environment of a client that may use it."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    port, dashboard = free_port(), free_port()
    temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's sockets need a short path
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "UNREASONABLE_ROOT": str(tmp_path / "root")}
    command = [RAY, "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1", f"--port={port}",
               "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--temp-dir={temporary}",
               f"--ray-client-server-port={free_port()}",
               "--object-store-memory=200000000", "--disable-usage-stats"]  # fmt: skip
    with (tmp_path / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for(dashboard, process)
            yield {**environment, "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}"}
        finally:
            end(process, temporary)


def end(process: subprocess.Popen[bytes], temporary: str) -> None:
    """End the head and everything it started, by process id, and remove its files."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=10)
    process.wait(10)
    shutil.rmtree(temporary, ignore_errors=True)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert process.poll() is None, "the head node ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.25)
    raise TimeoutError(f"nothing listens on {port}")


def submit(environment: dict[str, str], *entry: str) -> subprocess.CompletedProcess[str]:
    command = [RAY, "job", "submit", "--working-dir", ".", "--", *entry]
    return subprocess.run(command, cwd=HOUSE, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_training_is_submitted_and_shares_root_and_registry(head: dict[str, str]) -> None:
    small = ["--num_layers=1", "--hidden_size=16", "--max_steps=10", "--eval_every=10", "--num_workers=2", "--eval_lanes=256"]
    done = submit(head, "python", "jobs/train.py", *small)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{") and "run_id" in line]
    result = json.loads(line)
    assert result["model"] == "models:/pystdlib/1"
    assert result["champion"] is True
    assert Path(head["UNREASONABLE_ROOT"], "corpora", "pystdlib", "LATEST").exists()  # built on the way
    refused = submit({**head, "RAY_AUTH_TOKEN_PATH": "/dev/null"}, "python", "jobs/train.py")
    assert refused.returncode != 0
    failed = submit(head, "python", "jobs/train.py", "--corpus", "nope")
    assert failed.returncode != 0
    assert "error: no corpus 'nope'" in failed.stdout
