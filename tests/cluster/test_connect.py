"""Where Ray is, with a Ray of the tests' own in place of the real one: test_submit.py has that."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cluster import connect
from cluster.connect import ConnectionFailedError, node_count, ray_session, refusal

TOKEN = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the cluster's token file."
PINNED = "Ray: 2.40.0 Install the cluster's; requirements.lock pins ours."
SET_BY_US = (
    "RAY_USAGE_STATS_ENABLED",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
    "RAY_DISABLE_WORKER_LOG_PREFIX",
    "RAY_AUTH_MODE",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER",
)
DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_WORKER_LOG_PREFIX": "1",
}


class Ray(ModuleType):
    """Stands in for ray: notes how it is started and ended, or refuses."""

    __version__ = "9.8.7"

    def __init__(self) -> None:
        super().__init__("ray")
        self.refuses: Exception | None = None
        self.started: list[dict[str, Any]] = []
        self.ended = 0
        self.context = SimpleNamespace()
        data = ModuleType("ray.data")
        data.DataContext = SimpleNamespace(get_current=lambda: self.context)  # type: ignore[attr-defined]
        self.data = data

    def init(self, **options: Any) -> None:
        if self.refuses:
            raise self.refuses
        self.started.append(options)

    def shutdown(self) -> None:
        self.ended += 1

    def nodes(self) -> list[dict[str, bool]]:
        return [{"Alive": True}, {"Alive": False}, {"Alive": True}]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ray]:
    """The Ray that is imported, in an environment in which nothing of Ray's is set."""
    fake = Ray()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.data", fake.data)
    for name in (*SET_BY_US, *connect.FORWARDED, "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.setenv(name, "")  # so that it is restored, whatever becomes of it
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    loggers = [logging.getLogger(name) for name in ("ray.data", "ray.data._internal.progress")]
    levels = [logger.level for logger in loggers]
    yield fake
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def listener() -> Iterator[str]:
    """An address at which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


# ---- a session


def test_without_an_address_a_local_ray_is_started_and_ended(ray: Ray) -> None:
    with ray_session(num_cpus=3) as session:
        assert session is ray
        assert ray.ended == 0
    assert ray.ended == 1
    assert ray.started == [
        {
            "address": "local",
            "num_cpus": 3,
            "include_dashboard": True,
            "object_store_memory": 536_870_912,
            "logging_level": logging.WARNING,
            "runtime_env": {"env_vars": {}},
        }
    ]
    with ray_session(dashboard=False):
        assert ray.started[1]["include_dashboard"] is False
        assert ray.started[1]["num_cpus"] is None


def test_a_session_is_ended_when_its_work_fails(ray: Ray) -> None:
    with pytest.raises(RuntimeError, match="the work"), ray_session():
        raise RuntimeError("the work")
    assert ray.ended == 1


def test_with_an_address_that_cluster_is_used(
    ray: Ray, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in (listener, f"ray://{listener}", "auto"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with ray_session(num_cpus=3, dashboard=False):
            pass
        assert ray.started.pop() == {
            "address": address,
            "logging_level": logging.WARNING,
            "runtime_env": {"env_vars": {}},
        }
    assert {name: os.environ[name] for name in SET_BY_US if name in os.environ} == DEFAULTS


def test_settings_of_rays_that_are_not_given(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
    with ray_session():
        found = {name: os.environ[name] for name in SET_BY_US if name in os.environ}
    assert found == DEFAULTS | watcher  # ray is imported: it knows its RAY_AUTH_MODE already
    monkeypatch.delitem(sys.modules, "ray")
    connect._set_local_environment()
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_settings_of_rays_that_are_given_stay(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SET_BY_US:
        monkeypatch.setenv(name, "mine")
    with ray_session():
        assert {os.environ[name] for name in SET_BY_US} == {"mine"}


def test_workers_get_what_they_need_and_no_secret(
    ray: Ray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNREASONABLE_ROOT", "s3://b/r")
    monkeypatch.setenv("AWS_REGION", "eu-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted")
    with ray_session():
        pass
    env_vars = ray.started[0]["runtime_env"]["env_vars"]
    assert env_vars == {"UNREASONABLE_ROOT": "s3://b/r", "AWS_REGION": "eu-1"}
    assert connect.FORWARDED == (
        "UNREASONABLE_ROOT",
        "UNREASONABLE_CACHE",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    )


@pytest.mark.parametrize(
    ("job", "forwarded"),
    [
        ('{"runtime_env": {"env_vars": {"AWS_REGION": "us-1"}}}', {"UNREASONABLE_CACHE": "c"}),
        ('{"runtime_env": {}}', {"UNREASONABLE_CACHE": "c", "AWS_REGION": "eu-1"}),
        ('{"runtime_env": null}', {"UNREASONABLE_CACHE": "c", "AWS_REGION": "eu-1"}),
        ("{", {"UNREASONABLE_CACHE": "c", "AWS_REGION": "eu-1"}),
        ("", {"UNREASONABLE_CACHE": "c", "AWS_REGION": "eu-1"}),
    ],
)
def test_what_the_submitter_has_set_is_left_to_him(
    ray: Ray, monkeypatch: pytest.MonkeyPatch, job: str, forwarded: dict[str, str]
) -> None:
    monkeypatch.setenv("UNREASONABLE_CACHE", "c")
    monkeypatch.setenv("AWS_REGION", "eu-1")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", job)
    with ray_session():
        pass
    assert ray.started[0]["runtime_env"]["env_vars"] == forwarded


def test_ray_data_is_quiet(ray: Ray) -> None:
    with ray_session():
        pass
    assert vars(ray.context) == {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "execution_no_progress_timeout_s": -1,
    }
    assert logging.getLogger("ray.data").level == logging.WARNING
    assert logging.getLogger("ray.data._internal.progress").level == logging.ERROR


def test_the_token_is_its_owners_alone(
    ray: Ray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = tmp_path / "token"
    usual = tmp_path / "home" / ".ray" / "auth_token"
    usual.parent.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for path, setting in ((given, str(given)), (usual, "")):
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", setting)
        path.touch(0o644)
        with ray_session():
            pass
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("job", "root_is_set", "argv", "said"),
    [
        (False, False, ["train.py"], ""),
        (True, True, ["train.py"], "root /r"),
        (True, False, ["train.py", "--root", "/r"], "root /r"),
        (True, False, ["train.py", "--root=/r"], "root /r"),
        (True, False, ["train.py"], "root /r, this node's default: "),
    ],
)
def test_a_submitted_job_says_which_root_it_uses(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    job: bool,
    root_is_set: bool,
    argv: list[str],
    said: str,
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"runtime_env": {}}' if job else "")
    monkeypatch.delenv("UNREASONABLE_ROOT")
    if root_is_set:
        monkeypatch.setenv("UNREASONABLE_ROOT", "/r")
    with caplog.at_level(logging.INFO, "unreasonable"):
        connect.say_root("/r", argv)
    assert [message[:30] for message in caplog.messages] == ([said] if said else [])


def test_the_nodes_that_are_alive_are_counted(ray: Ray) -> None:
    assert node_count() == 2


# ---- refusals


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_dashboard_is_no_place_to_connect_to(
    ray: Ray, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"{scheme}://127.0.0.1:8265")
    with pytest.raises(ConnectionFailedError) as refused, ray_session():
        pass
    assert str(refused.value) == (
        f"RAY_ADDRESS is {scheme}://127.0.0.1:8265, a dashboard: submit the job there (ray job "
        "submit --working-dir . -- python jobs/...), or give the head's own address, such as "
        "host:6379."
    )
    assert ray.started == []


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_a_head_that_is_not_there_is_named_at_once(
    ray: Ray, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    address = form.format("127.0.0.1:1")  # nothing listens on port 1
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConnectionFailedError) as refused, ray_session():
        pass
    assert str(refused.value) == (
        f"no Ray at {address}: check that the cluster is up and RAY_ADDRESS is right "
        "([Errno 111] Connection refused)."
    )
    assert ray.started == []


def test_a_head_has_some_time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[tuple[str, int], float]] = []

    def answer(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append((address, timeout))
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", answer)
    connect._check_address("ray://[::1]:6379")
    connect._check_address("head.example:10001")
    assert asked == [(("::1", 6379), 10.0), (("head.example", 10001), 10.0)]


@pytest.mark.parametrize("kind", [ConnectionError, RuntimeError, ValueError])
def test_a_local_ray_that_does_not_start_is_one_line(ray: Ray, kind: type[Exception]) -> None:
    ray.refuses = kind("no\n  " + "x" * 400)
    with pytest.raises(ConnectionFailedError) as refused, ray_session():
        pass
    assert str(refused.value) == "cannot start a local Ray: no " + "x" * 297
    assert ray.ended == 0


def test_a_cluster_that_does_not_take_us_in_is_one_line(
    ray: Ray, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", listener)
    ray.refuses = RuntimeError("Could not\nConnect " + "x" * 200)
    with pytest.raises(ConnectionFailedError) as refused, ray_session():
        pass
    assert str(refused.value) == (
        f"Ray at {listener} does not take us in: a wrong or missing token (RAY_AUTH_MODE=token, "
        "RAY_AUTH_TOKEN_PATH), or another version of Ray or Python than ours, 9.8.7 "
        f"(Could not Connect {'x' * 102})."
    )
    ray.refuses = ValueError("Version mismatch: 2.40")
    with pytest.raises(ConnectionFailedError, match="has another version"), ray_session():
        pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("Request failed with status code 401: Unauthorized", f"asks for a token: {TOKEN}"),
        ("UNAUTHENTICATED by the head", f"asks for a token: {TOKEN}"),
        ("Authentication is enabled but no key was given", f"asks for a token: {TOKEN}"),
        ("a Token is needed", f"asks for a token: {TOKEN}"),
        ("status code 403: a token of others", f"refuses the token: {TOKEN}"),
        ("Invalid authentication token", f"refuses the token: {TOKEN}"),
        ("the token is Incorrect", f"refuses the token: {TOKEN}"),
        (
            "status code 403",
            "refuses the token: set RAY_AUTH_TOKEN_PATH to the cluster's token file.",
        ),
        ("Forbidden", "refuses the token: set RAY_AUTH_TOKEN_PATH to the cluster's token file."),
        (
            "Version mismatch: The cluster was started with: Ray: 2.40.0",
            f"has another version: Version mismatch: The cluster was started with: {PINNED}",
        ),
    ],
)
def test_what_ray_says_in_our_words(error: str, message: str) -> None:
    assert refusal("http://x", RuntimeError(error)) == f"Ray at http://x {message}"


def test_other_words_of_rays_are_passed_on() -> None:
    """Shortened, on one line."""
    versions = ("incompatible version", "the version is not compatible", "VERSION MISMATCH")
    for text in versions:
        assert "has another version: " + text in refusal("h:1", RuntimeError(text))
    long = "version mismatch " + "x" * 300
    assert f"version: {long[:200]} Install" in refusal("h:1", RuntimeError(long))
    up = "check that the cluster is up and RAY_ADDRESS is right"
    assert refusal("h:1", RuntimeError("cannot\n Connect")) == (
        f"no Ray at h:1: {up} (cannot Connect)."
    )
    for kind in (ConnectionError, TimeoutError, ConnectionRefusedError):
        assert refusal("h:1", kind("x" * 130)) == f"no Ray at h:1: {up} ({'x' * 120})."
    for text in ("a mismatch", "a version", "y" * 400):
        assert refusal("h:1", RuntimeError(text)) == f"Ray at h:1: {text[:300]}"


def test_a_port_that_holds_a_status_is_no_refusal() -> None:
    for port in (40301, 51401):
        address = f"127.0.0.1:{port}"
        said = refusal(address, ConnectionError(f"{address} does not listen"))
        assert said.startswith(f"no Ray at {address}: ")
