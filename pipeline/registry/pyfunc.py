"""The model file that MLflow itself runs: models-from-code, so that no pickle is written or loaded.

    model = mlflow.pyfunc.load_model(uri)
    model.predict(["The "], params={"num_chars": 200, "temperature": 0.7, "seed": 1})

Each input row is a prime; each output row is the prime and what the model makes of it: row n is
what our own sampling job writes into its file number n for that prime. MLflow copies this file and
the package beside the model; of the package it uses the engine and what lies below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow

NUM_CHARS = 200


class SamplerModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined, unused-ignore]
    """Samples text from the artifact's files."""

    def load_context(self, context: Any) -> None:
        from pipeline.engine.opening import open_engine
        from pipeline.model.artifact import ARTIFACT, check_artifact

        files = {file: Path(context.artifacts[file]).read_bytes() for file in ARTIFACT}
        artifact = check_artifact("model", "", "this model", files)
        self.engine = open_engine(artifact, artifact.about.precision)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Texts for primes. Unannotated on purpose: with type hints MLflow ignores the params
        schema.
        """
        from pipeline.engine.request import Request, check_stop

        settings: dict[str, Any] = {"num_chars": NUM_CHARS, **(params or {})}
        stop = str(settings.pop("stop", ""))
        check_stop(settings.get("lines", 0), stop)
        rows = model_input.iloc[:, 0] if hasattr(model_input, "iloc") else model_input
        # A row's number is part of the key of its random numbers, as a file's is.
        requests = [
            Request(number, prime=str(prime).encode(), **settings)
            for number, prime in enumerate(rows)
        ]
        texts = self.engine.sample(requests, stop.encode())
        return [text.decode("utf-8", "replace") for text in texts]


mlflow.models.set_model(SamplerModel())
