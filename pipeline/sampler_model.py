"""The model file that MLflow itself runs: models-from-code, so that no pickle is written or loaded.

    mlflow.pyfunc.load_model(uri).predict(["The "], params={"num_chars": 200, "temperature": 0.7, "seed": 1})

Each input row is a prime; each output row is the prime and what the model makes of it, as our own sampling job does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow


class SamplerModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined, unused-ignore]
    """Samples text from the artifact's three files."""

    def load_context(self, context: Any) -> None:
        import torch

        from pipeline.sampling.engine import Engine
        from pipeline.training.checkpoint import load_model

        torch.set_num_threads(1)  # as the sampling job's actors
        files = {Path(path).name: Path(path).read_bytes() for path in context.artifacts.values()}
        model, self.vocab, config = load_model(files, "this model")
        self.engine = Engine(model, self.vocab, config["first_tokens"])

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        # Unannotated on purpose: with type hints MLflow ignores the params schema.
        from pipeline.sampling.engine import LANE_WIDTH, Request

        wanted = {"num_chars": 200, "temperature": 1.0, "top_k": 0, "seed": 1} | (params or {})
        primes = [str(prime) for prime in model_input.iloc[:, 0]] if hasattr(model_input, "iloc") else list(model_input)
        texts = [prime.encode() for prime in primes]
        for at in range(0, len(texts), LANE_WIDTH):
            requests = [
                Request(number, wanted["num_chars"], wanted["temperature"], wanted["top_k"], prime.encode(), wanted["seed"])
                for number, prime in enumerate(primes[at : at + LANE_WIDTH], start=at)
            ]
            for lane, tokens, _ in self.engine.stream(requests):
                texts[at + lane] += self.vocab.decode(tokens)
        return [text.decode("utf-8", "replace") for text in texts]


mlflow.models.set_model(SamplerModel())
