"""How long a tracking server is waited for."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import TrackingError, says_status

R = TypeVar("R")

# A question that decides whether to go on with the server or without it.
ANSWER_S = 15.0
# MLflow's own waiting, where its variables are not set: 120 s for an answer, seven times again, is
# a quarter of an hour for each of a dozen calls. Four times 20 s, and 0 + 4 + 8 s between.
_DEFAULTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}


def limit_requests() -> None:
    """Give MLflow's requests limits, where the environment has none."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def is_passing(error: BaseException) -> bool:
    """Whether an error on the way to a server may go away by itself: no waiting helps a wrong URL.

    MLflow wraps what a request or a database raised.
    """
    import requests
    import sqlalchemy.exc

    passing = (
        requests.exceptions.RequestException,
        sqlalchemy.exc.OperationalError,
        sqlalchemy.exc.InterfaceError,
        ConnectionError,
        TimeoutError,
        TrackingError,
    )
    wrong = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, wrong):
            return False
        if isinstance(found, passing) or says_status(str(found), 429, 500, 502, 503, 504):
            return True
        code = getattr(found, "error_code", "")
        if code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE") and _was_answered(found):
            return True
        found = found.__cause__ or found.__context__
    return False


def _was_answered(error: BaseException) -> bool:
    """Whether a server said it: MLflow's own code calls much that it refuses an internal error."""
    return type(error).__name__ == "RestException"


def within(seconds: float, what: str, work: Callable[[], R]) -> R:
    """The result of `work`, or its error; a TrackingError when neither is there in time.

    What takes longer is left to itself, in a thread that ends with the process.
    """
    results: list[R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="patience")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TrackingError(f"{what} does not answer: nothing came within {seconds:g} s.")
    return results[0]
