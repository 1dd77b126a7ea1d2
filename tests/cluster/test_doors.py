"""Doors: who is let in, what listens where, what is readable by whom."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.registry.models import Models
from pipeline.registry.tracking import Tracking
from tests.servers import free_port, running

HOUSE = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking server as cluster/kubernetes/mlflow.yaml starts it, on loopback and SQLite."""
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    (folder / "basic_auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\n"
        "admin_username = someone\nadmin_password = a-long-password\n"
    )
    command = [
        *[str(Path(sys.executable).with_name("mlflow")), "server", "--app-name", "basic-auth"],
        *["--host", "127.0.0.1", "--port", str(port), "--allowed-hosts", f"127.0.0.1:{port}"],
        *["--workers", "1", "--artifacts-destination", str(folder / "artifacts")],
    ]
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for-this-test",
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/server.db",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with running(command, f"http://127.0.0.1:{port}/health", folder / "server.log", environment):
        yield f"http://127.0.0.1:{port}"


def test_the_tracking_server_lets_in_who_has_the_password(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "someone")
    for password, let_in in (("a-long-password", True), ("a-guess", False)):
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        if let_in:
            assert Models(Tracking(str(tmp_path))).versions() == []
            continue
        with pytest.raises(InputError) as refused:
            Models(Tracking(str(tmp_path))).versions()
        assert len(str(refused.value).splitlines()) == 1
        assert "MLFLOW_TRACKING_USERNAME" in str(refused.value)
        assert password not in str(refused.value)


def test_another_host_name_is_refused(server: str) -> None:
    request = urllib.request.Request(
        f"{server}/api/2.0/mlflow/experiments/search", headers={"Host": "evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 403


def test_a_local_ray_listens_on_loopback_and_its_token_is_private(tmp_path: Path) -> None:
    """What listens in a session, and who may read the token that Ray wrote.

    Ray was imported before: then it has read its settings, and ray_session cannot change them.
    """
    code = """
import json, os, psutil
import ray._private.ray_constants
from cluster.connect import ray_session
with ray_session(num_cpus=1):
    ours = {process.pid for process in psutil.Process().children(recursive=True)}
    own = [socket for socket in psutil.net_connections("tcp") if socket.pid in ours]
    found = [(socket.laddr.ip, socket.laddr.port) for socket in own if socket.status == "LISTEN"]
    dashboard = ray._private.worker._global_node.webui_url
print(json.dumps({"listening": found, "dashboard": dashboard}))
"""
    token = tmp_path / "home" / ".ray" / "auth_token"
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "UNREASONABLE_ROOT": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=HOUSE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["dashboard"].startswith("127.0.0.1:")
    assert found["listening"]
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
