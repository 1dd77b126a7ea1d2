"""A sample of a model in training, the same whenever its step is reached."""

from __future__ import annotations

from pipeline.engine.engine import engine_of
from pipeline.engine.request import Request
from pipeline.training.trainer import Trainer

TEMPERATURE = 0.8


def preview(trainer: Trainer, num_chars: int) -> bytes:
    """`num_chars` characters by the model as it stands.

    The first one follows what the corpus's documents start with, as in sampling without a prime.
    """
    engine = engine_of(trainer.model, trainer.corpus.vocab, trainer.corpus.manifest.first_tokens)
    # The step is the sample's number, so that samples of one run differ in more than their weights.
    request = Request(trainer.step, num_chars, TEMPERATURE, seed=trainer.config.seed)
    (text,) = engine.sample([request])
    return text
