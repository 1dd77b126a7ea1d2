"""Nobody waits for a tracking server longer than is stated."""

from __future__ import annotations

import os
import threading

import pytest

from pipeline.errors import TrackingError
from pipeline.registry.patience import limit_requests, within

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
