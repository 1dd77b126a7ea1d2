"""Nonsense in the environment: one line that names the variable, before anything starts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.errors import InputError
from tests.doors.house import shown

Refused = Callable[..., str]

# What starts the job that looks at each variable.
CASES: list[tuple[str, str, list[str], str]] = [
    *[
        ("UNREASONABLE_ROOT", root, ["models", "list"], "root")
        for root in ("nosuch://x", "http://x", "zip://x", "/tmp/a\tb", "/tmp/a?b", "s3://b/x#1")
    ],
    *[
        ("UNREASONABLE_RESIZE_S", value, ["train"], "UNREASONABLE_RESIZE_S")
        for value in ("soon", "-1", "0", "nan", "inf", "1,5", "[]")
    ],
    *[
        ("MLFLOW_TRACKING_URI", value, ["train"], "MLFLOW_TRACKING_URI")
        for value in (
            "nonsense",
            # A server where nobody answers may be back: a run goes on without it.
            "nonsense://x",
            "http://",
            "http://[",
            "sqlite:////dev/null/x.db",
            "postgresql://",
            "mysql",
            "ftp://127.0.0.1:1",
        )
    ],
    *[
        ("MLFLOW_TRACKING_URI", value, ["models", "list"], "MLFLOW_TRACKING_URI")
        for value in ("nonsense://x", "http://127.0.0.1:1", "http://[", "sqlite:////dev/null/x.db")
    ],
]
ADDRESSES = [
    "nonsense",
    "host",
    "host:",
    ":6379",
    "host:port",
    "host:99999",
    "host:0",
    "host:-1",
    "ray://",
    "ray://host",
    "nosuch://host:6379",
    "http://127.0.0.1:8265",
    "127.0.0.1:1",
    "ray://127.0.0.1:1",
    " ",
    "x" * 300 + ":6379",
    "..:6379",
    "\u2603:6379",
]


@pytest.mark.parametrize(
    ("variable", "value", "job", "named"),
    CASES,
    ids=[f"{variable}-{job[0]}-{shown(value)}" for variable, value, job, _ in CASES],
)
def test_a_variable_that_means_nothing_is_refused_by_name(
    refused: Refused,
    house: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: object,
    variable: str,
    value: str,
    job: list[str],
    named: str,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv(variable, value)
    monkeypatch.chdir(str(tmp_path))  # where a file of the variable's name would appear
    name, *arguments = job
    if variable == "UNREASONABLE_ROOT":
        arguments = [f"--root={value}", *arguments]
    assert named in refused(name, *arguments)


@pytest.mark.parametrize("address", ADDRESSES, ids=map(shown, ADDRESSES))
def test_an_address_where_no_ray_can_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    from cluster.connect import ConnectionFailedError, ray_session

    def start(**options: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("ray.init", start)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConnectionFailedError) as refused, ray_session():
        pass
    line = str(refused.value)
    assert "RAY_ADDRESS" in line
    assert "\n" not in line


def test_a_cache_that_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.corpora.manifest import _cache_folder

    for folder in ("/dev/null", "/dev/null/x", "/proc/none"):
        monkeypatch.setenv("UNREASONABLE_CACHE", folder)
        with pytest.raises(InputError, match=f"{folder}.*UNREASONABLE_CACHE"):
            _cache_folder()
