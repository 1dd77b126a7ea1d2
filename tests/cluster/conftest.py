"""A real head node on loopback with token authentication, for all tests of this folder."""

from __future__ import annotations

import contextlib
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

from tests.servers import free_port

RAY = str(Path(sys.executable).with_name("ray"))


@pytest.fixture(scope="package")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A head node of its own, and the environment of a client that may use it."""
    tmp_path = tmp_path_factory.mktemp("head")
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    port = free_port()
    dashboard = free_port()
    temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's sockets need a short path
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "UNREASONABLE_ROOT": str(tmp_path / "root"),
    }
    command = [
        *[RAY, "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1"],
        *[f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"],
        *[f"--ray-client-server-port={free_port()}", f"--temp-dir={temporary}"],
        # By default 52365, which the tests' local Ray may hold: then this head takes no jobs.
        f"--dashboard-agent-listen-port={free_port()}",
        *["--object-store-memory=200000000", "--disable-usage-stats"],
    ]
    with (tmp_path / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for(dashboard, process)
            yield {
                **environment,
                "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}",
                "HEAD_ADDRESS": f"127.0.0.1:{port}",
            }
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
