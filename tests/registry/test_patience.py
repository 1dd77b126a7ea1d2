"""Nobody waits for a tracking server longer than is stated."""

from __future__ import annotations

import os
import threading

import pytest
import requests
import sqlalchemy.exc
from mlflow.exceptions import MlflowException, RestException

from pipeline.errors import TrackingError
from pipeline.registry.patience import is_passing, limit_requests, within

NAMES = ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")


def test_a_result_and_an_error_are_the_callers() -> None:
    assert within(30, "the server", lambda: 5) == 5
    assert within(30, "the server", lambda: None) is None

    def fails() -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        within(30, "the server", fails)


def test_what_takes_too_long_is_left() -> None:
    never = threading.Event()
    with pytest.raises(TrackingError, match=r"the server does not answer: nothing .* 0\.01 s\.$"):
        within(0.01, "the server", never.wait)
    never.set()


def test_requests_have_limits_unless_the_environment_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    limit_requests()
    assert [os.environ[name] for name in NAMES] == ["20", "3"]
    monkeypatch.setenv(NAMES[0], "7")
    limit_requests()
    assert [os.environ[name] for name in NAMES] == ["7", "3"]


def wrapped(error: Exception) -> Exception:
    """As MLflow wraps it."""
    try:
        try:
            raise error
        except Exception as inner:
            raise MlflowException("API request failed") from inner
    except MlflowException as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (requests.exceptions.ReadTimeout(), True),
        (requests.exceptions.ChunkedEncodingError(), True),
        (sqlalchemy.exc.OperationalError("", {}, Exception("refused")), True),
        (ConnectionResetError(), True),
        (RuntimeError("failed with error code 503"), True),
        (RestException({"error_code": "INTERNAL_ERROR", "message": "sorry"}), True),
        (requests.exceptions.InvalidURL(), False),
        (ModuleNotFoundError("No module named 'psycopg'"), False),
        (FileExistsError("/dev/null"), False),
        (RuntimeError("failed with error code 404"), False),
        (ValueError("Invalid IPv6 URL"), False),
    ],
)
def test_what_may_go_away_by_itself_is_told_from_what_is_wrong(
    error: Exception, passes: bool
) -> None:
    assert is_passing(error) is passes
    assert is_passing(wrapped(error)) is passes
