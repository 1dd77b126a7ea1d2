"""What a recipe came to: its stages' results, its claims judged, and every artefact's origin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.corpora.build import BuildResult
from pipeline.reproducing.claims import Judged
from pipeline.reproducing.lineage import Step
from pipeline.sampling.job import SampleResult
from pipeline.training.finishing import TrainedRun

GATE_FAILED = 1  # the exit status


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What a recipe came to. A run that was asked to stop ends with its training.

    `bits_per_byte` are of the model and of simple compressors, on the validation text. `evidence`
    is the JSON that claims are judged by, by its kind; `pages` are URLs by title.
    """

    recipe: str
    root: str
    built: BuildResult
    trained: TrainedRun
    sampled: SampleResult | None = None
    bits_per_byte: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    judged: tuple[Judged, ...] = ()
    steps: tuple[Step, ...] = ()
    report: str = ""

    @property
    def failed(self) -> tuple[str, ...]:
        """What the recipe fails by: gates, and steps of its origin that do not fit."""
        gates = [each.claim.name for each in self.judged if each.fails_gate]
        broken = [f"{step.what}: {step.broken}" for step in self.steps if step.broken]
        return (*gates, *broken)

    def to_json(self) -> dict[str, Any]:
        """The job's line: figures and places. `report` has a JSON beside it with all of it."""
        if self.sampled is None:
            return self.trained.to_json()
        value: dict[str, Any] = {
            "recipe": self.recipe,
            "root": self.root,
            "corpus": self.built.url,
            "model": self.trained.model,
            "samples": self.sampled.samples,
            "val_bits_per_byte": {
                name: round(figure, 4) for name, figure in self.bits_per_byte.items()
            },
            "seconds": self.seconds,
            "claims": {each.claim.name: each.verdict for each in self.judged},
            "failed": list(self.failed),
            "pages": self.pages,
            "report": self.report,
        }
        return value | ({"exit_status": GATE_FAILED} if self.failed else {})

    def record(self) -> dict[str, Any]:
        """report.json: what the page is made of."""
        return {
            **self.to_json(),
            "format": 1,
            "claims": [each.to_json() for each in self.judged],
            "lineage": [step.to_json() for step in self.steps],
        }
