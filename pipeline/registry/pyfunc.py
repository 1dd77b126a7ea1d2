"""The model file that MLflow itself runs: models-from-code, so that no pickle is written or loaded.

    model = mlflow.pyfunc.load_model(uri)
    model.predict(["The "], params={"num_chars": 200, "temperature": 0.7, "seed": 1})

Each input row is a prime; each output row is the prime and what the model makes of it: row n is
what our own sampling job writes into its file number n for that prime. MLflow copies this file and
the package beside the model; of the package it uses the engine and what lies below.

A text may have MAX_CHARS characters, lines together, unless the model was registered or is loaded
with another `max_chars`: load_model(uri, model_config={"max_chars": 1_000_000}). Behind `mlflow
models serve`, work stops at the server's own time limit (MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT),
at which it has answered: MLflow tells a model nothing of a client that has gone.

What is refused is refused by name, in one line: from Python as an InputError, by `mlflow models
serve` with status 400 and no stack trace.
"""

from __future__ import annotations

import inspect
import json
import math
import time
from pathlib import Path
from typing import Any

import mlflow
from mlflow.environment_variables import (
    _MLFLOW_IS_IN_SERVING_ENVIRONMENT,
    MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from pipeline.errors import InputError

NUM_CHARS = 200
MAX_CHARS = 100_000  # some ten seconds of one core
PARAMS = ("num_chars", "temperature", "top_k", "top_p", "stop", "lines", "seed")


class RefusedError(InputError, MlflowException):  # type: ignore[misc, unused-ignore]
    """Bad input, as Python's callers and as MLflow's server know it."""

    def __init__(self, reason: str) -> None:
        MlflowException.__init__(self, reason, error_code=INVALID_PARAMETER_VALUE)

    def serialize_as_json(self) -> str:
        """The server's answer."""
        # The server has put all of the request's data before `message`; the reason alone is enough.
        return json.dumps({"error_code": self.error_code, "message": str(self)})


class SamplerModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined, unused-ignore]
    """Samples text from the artifact's files."""

    def load_context(self, context: Any) -> None:
        from pipeline.engine.opening import open_engine
        from pipeline.engine.request import Request, whole_number
        from pipeline.model.artifact import ARTIFACT, check_artifact

        files = {file: Path(context.artifacts[file]).read_bytes() for file in ARTIFACT}
        artifact = check_artifact("model", "", "this model", files)
        self.engine = open_engine(artifact, artifact.about.precision)
        asked = (getattr(context, "model_config", None) or {}).get("max_chars", MAX_CHARS)
        self.max_chars = whole_number("max_chars", asked)
        # Compiles the loop, which takes half a minute where no cache has it: nobody's request.
        self.engine.sample([Request(0, 1)])

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Texts for primes. Unannotated on purpose: with type hints MLflow ignores the params
        schema.
        """
        try:
            return self._texts(model_input, as_asked(params))
        except InputError as error:
            # Any other exception's answer would have its stack trace.
            raise RefusedError(str(error)) from None

    def _texts(self, model_input: Any, params: dict[str, Any]) -> list[str]:
        from pipeline.engine.request import Request, check_stop, written_text

        unknown = sorted(set(params) - set(PARAMS))
        if unknown:
            raise InputError(
                f"there is no parameter {', '.join(map(repr, unknown))}; "
                f"there are {', '.join(PARAMS)}."
            )
        settings: dict[str, Any] = {"num_chars": NUM_CHARS, **params}
        stop = written_text("stop", settings.pop("stop", ""))
        # Before any row is looked at, so that no rows do not hide a wrong setting.
        checked = Request(0, **settings)
        check_stop(checked.lines, stop)
        self._check_length(checked.num_chars, checked.lines)
        rows = model_input.iloc[:, 0] if hasattr(model_input, "iloc") else model_input
        # A row's number is part of the key of its random numbers, as a file's is.
        requests = [
            Request(number, prime=written_text(f"prime {number}", prime).encode(), **settings)
            for number, prime in enumerate(rows)
        ]
        return self._written(requests, stop.encode())

    def _check_length(self, num_chars: int, lines: int) -> None:
        """Refuse what one request of a client may not ask of a server."""
        asked = num_chars * max(lines, 1)
        if asked > self.max_chars:
            of_lines = f" times lines {lines:,}" if lines else ""
            raise InputError(
                f"num_chars {num_chars:,}{of_lines} is more than the {self.max_chars:,} characters "
                "that this model writes in one text; ask for fewer, or load it with another "
                "max_chars."
            )

    def _written(self, requests: list[Any], stop: bytes) -> list[str]:
        """The whole texts of requests, as text; given up at the time limit of a server."""
        limit_s = _time_limit_s()
        began = time.monotonic()
        texts = [bytearray() for _ in requests]
        for piece in self.engine.stream(requests, stop):
            texts[int(str(piece.name))] += piece.text
            if time.monotonic() - began > limit_s:
                raise InputError(
                    f"the texts took longer than {limit_s:g} s; ask for fewer or less."
                )
        return [text.decode("utf-8", "replace") for text in texts]


def _time_limit_s() -> float:
    """How long a server waits for us; without one, for ever."""
    if not _MLFLOW_IS_IN_SERVING_ENVIRONMENT.get():
        return math.inf
    return float(MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())


def as_asked(params: dict[str, Any] | None) -> dict[str, Any]:
    """The parameters as the caller of MLflow's `predict` gave them, where MLflow called us.

    On their way here MLflow drops those that the signature does not name, with a warning in the
    server's log: `temprature` would be sampled at the default.
    """
    # There is no other way to them than MLflow's own frame. Should a later MLflow call us
    # otherwise, its filtered params are used, and the test of unknown parameters fails.
    entry = mlflow.pyfunc.PyFuncModel.predict.__code__
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is entry:
            params = frame.f_locals["params"]
            break
        frame = frame.f_back
    return {str(name): value for name, value in (params or {}).items()}


mlflow.models.set_model(SamplerModel())
