"""How long a tracking server is waited for."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import TrackingError

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
