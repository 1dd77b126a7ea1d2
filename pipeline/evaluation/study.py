"""A study: one question about a model, beside the scores: figures, and parts of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.section import Section


@dataclass(frozen=True)
class Study:
    """What a study found, as JSON, and as parts of the report.

    `key` are the few figures that the job's last line and the registry show.
    """

    name: str
    found: dict[str, Any]
    sections: tuple[Section, ...]
    key: dict[str, float]
