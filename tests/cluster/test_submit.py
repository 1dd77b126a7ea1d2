"""`ray job submit` against a real head node on loopback with token authentication."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).parent.parent.parent
RAY = str(Path(sys.executable).with_name("ray"))
SMALL = ["--num_layers=1", "--hidden_size=16", "--num_workers=2", "--eval_lanes=256"]


def ray(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RAY, "job", *arguments],
        cwd=HOUSE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def submit(
    environment: dict[str, str], *entry: str, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Submit a job. A head refuses jobs for some seconds after its dashboard answers."""
    for _ in range(10):
        done = ray(environment, "submit", *options, "--working-dir", ".", "--", *entry)
        if "No available agent" not in done.stdout + done.stderr:
            break
        time.sleep(1)
    return done


def test_training_is_submitted_and_shares_root_and_registry(head: dict[str, str]) -> None:
    done = submit(head, "python", "jobs/train.py", *SMALL, "--max_steps=10", "--eval_every=10")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (line,) = [
        line for line in done.stdout.splitlines() if line.startswith("{") and "run_id" in line
    ]
    result = json.loads(line)
    assert result["model"] == "models:/pystdlib/1"
    assert result["champion"] is True
    # The corpus was built on the way.
    assert Path(head["UNREASONABLE_ROOT"], "corpora", "pystdlib", "LATEST").exists()
    refused = submit({**head, "RAY_AUTH_TOKEN_PATH": "/dev/null"}, "python", "jobs/train.py")
    assert refused.returncode != 0
    failed = submit(head, "python", "jobs/train.py", "--corpus", "nope")
    assert failed.returncode != 0
    assert "error: no corpus 'nope'" in failed.stdout


def test_little_is_uploaded_and_nothing_private(tmp_path: Path) -> None:
    """The package that Ray makes of the project's folder: code, recipes, documents."""
    from ray._private import ray_constants
    from ray._private.runtime_env import packaging

    secrets = {
        ".venv/secret.txt": "x" * 9_000_000,
        "mlruns/run": "x",
        "mlflow.db": "x",
        ".git/config": "[remote]",
        ".env": "K=1",
        "a.pem": "-",
    }
    project = tmp_path / "project"
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=HOUSE, capture_output=True, text=True, check=False
    ).stdout
    files = [name for name in tracked.split("\0") if name] or [
        str(p.relative_to(HOUSE)) for p in HOUSE.rglob("*.py")
    ]
    for name in files:
        if (HOUSE / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_bytes((HOUSE / name).read_bytes())
    for name, text in secrets.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    package = tmp_path / "package.zip"
    excludes = ray_constants.get_runtime_env_default_excludes()
    packaging.create_package(
        str(project), package, include_gitignore=True, excludes=excludes, logger=logging.getLogger()
    )
    with zipfile.ZipFile(package) as opened:
        names = {info.filename for info in opened.infolist() if not info.is_dir()}
    assert package.stat().st_size < 2_000_000  # not packed: the code itself
    assert {"jobs/train.py", "pipeline/storage.py", "jobs/recipes/linux.yaml"} <= names
    assert not names & set(secrets)


def session(environment: dict[str, str], **changes: str) -> str:
    """What a driver says that connects to RAY_ADDRESS."""
    code = """
        from cluster.connect import ConnectionFailedError, ray_session
        try:
            with ray_session():
                print("connected")
        except ConnectionFailedError as error:
            print(error)
    """
    code = "\n".join(line[8:] for line in code.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=HOUSE,
        env={**environment, **changes},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stdout
    return done.stdout.strip()


@pytest.mark.long
def test_a_cluster_that_does_not_take_us_in_is_one_clear_line(
    head: dict[str, str], tmp_path: Path
) -> None:
    gcs = head["HEAD_ADDRESS"]
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    assert session(head, RAY_ADDRESS=gcs) == "connected"
    dashboard = session(head)
    assert dashboard.startswith(f"RAY_ADDRESS is {head['RAY_ADDRESS']}")
    assert "ray job submit" in dashboard
    refused = session(head, RAY_ADDRESS=gcs, RAY_AUTH_TOKEN_PATH=str(wrong))
    away = session(head, RAY_ADDRESS="127.0.0.1:1")
    for line in (refused, away):
        assert len(line.splitlines()) == 1, line
    assert "token" in refused
    assert "no Ray at 127.0.0.1:1" in away


def test_jobs_of_a_cluster_that_does_not_take_us_in(head: dict[str, str], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    code = """
from cluster.connect import ConnectionFailedError
from cluster.submission import RayJobs
try:
    RayJobs()
except ConnectionFailedError as error:
    print(error)
"""

    def line(**changes: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=HOUSE,
            env={**head, **changes},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()

    assert line() == ""
    assert "refuses the token" in line(RAY_AUTH_TOKEN_PATH=str(wrong))
    assert "asks for a token" in line(RAY_AUTH_MODE="disabled")
    assert line(RAY_ADDRESS="http://127.0.0.1:1").startswith("no Ray at http://127.0.0.1:1")
    assert line(RAY_ADDRESS="").startswith("RAY_ADDRESS is not set")


@pytest.mark.long
def test_a_stopped_job_leaves_a_run_that_can_be_resumed(
    head: dict[str, str], tmp_path: Path
) -> None:
    environment = head
    # A job has the cluster's environment, not the client's.
    root = ["--root", str(tmp_path / "root")]
    entry = [
        "python",
        "jobs/train.py",
        *root,
        *SMALL,
        "--max_steps=1500",
        "--eval_every=1500",
        "--checkpoint_every=20",
    ]
    options = ("--no-wait", "--submission-id", "to-be-stopped")
    submitted = submit(environment, *entry, options=options)
    assert submitted.returncode == 0, submitted.stdout
    wait_until(lambda: list((tmp_path / "root").glob("runs/*/checkpoint-*/digests.json")))
    assert ray(environment, "stop", "to-be-stopped").returncode == 0
    logs = ray(environment, "logs", "to-be-stopped").stdout
    (run_id,) = set(re.findall(r"run (\d{8}-\d{6}-[0-9a-f]{6})", logs))
    done = submit(environment, "python", "jobs/train.py", *root, "--resume", run_id)
    assert done.returncode == 0, done.stdout[-3000:]
    rows = [
        json.loads(line)["step"]
        for line in (tmp_path / "root" / "runs" / run_id / "metrics.jsonl").open()
    ]
    assert rows == list(range(1, 1501))


def wait_until(true: Any, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)
