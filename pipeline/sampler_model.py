"""The model file that MLflow itself runs: models-from-code, so that no pickle is written or loaded.

    mlflow.pyfunc.load_model(uri).predict(["The "], params={"num_chars": 200, "temperature": 0.7, "seed": 1})

Each input row is a prime; each output row is the prime and what the model makes of it: row n is what our own sampling job
writes into its file number n for that prime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow


class SamplerModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined, unused-ignore]
    """Samples text from the artifact's files."""

    def load_context(self, context: Any) -> None:
        from pipeline.sampling.engine import open_engine
        from pipeline.training.artifact import ARTIFACT
        from pipeline.training.checkpoint import fetched

        files = {file: Path(context.artifacts[file]).read_bytes() for file in ARTIFACT}
        model = fetched("model", "", "this model", files)
        self.engine = open_engine(model, model.config.get("sampling", {}).get("precision", "fp32"))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        # Unannotated on purpose: with type hints MLflow ignores the params schema.
        from pipeline.sampling.config import SampleConfig
        from pipeline.sampling.engine import request_of

        # Through the job's settings, so that what it refuses is refused here.
        given = dict(params or {})
        wanted: dict[str, Any] = {"num_chars": 200, **given, "temperature": str(given.get("temperature", 1.0))}
        config = SampleConfig(model="", **wanted)
        primes = [str(prime) for prime in (model_input.iloc[:, 0] if hasattr(model_input, "iloc") else model_input)]
        requests = [request_of(config, number, prime.encode()) for number, prime in enumerate(primes)]
        return [text.decode("utf-8", "replace") for text in self.engine.sample(requests, config.stop.encode())]


mlflow.models.set_model(SamplerModel())
