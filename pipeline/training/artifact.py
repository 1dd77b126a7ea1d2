"""A model artifact as fetched: its files' bytes, checked, and what identifies it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WEIGHTS, CONFIG, VOCAB = "weights.safetensors", "config.json", "vocab.json"
ARTIFACT = (WEIGHTS, CONFIG, VOCAB)
CARD = "MODEL_CARD.md"  # registered beside them; nothing reads it but people


@dataclass(frozen=True)
class FetchedModel:
    """A model's three files. `name` and `version` are the registry's, or the run's and the step of a checkpoint."""

    name: str
    version: str
    uri: str
    files: dict[str, bytes]
    digests: dict[str, str]
    config: dict[str, Any]
