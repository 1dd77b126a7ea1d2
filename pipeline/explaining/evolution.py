"""The page of a run, from its folder: samples on the way, their loss, and text of its corpus."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pipeline import runs, storage
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import DamagedError, InputError
from pipeline.evaluation.texts import training_text
from pipeline.explaining.milestones import Milestone, Sampled, milestones
from pipeline.explaining.page_evolution import evolution_page
from pipeline.training import journal

EVOLUTION_PAGE = "evolution.html"
TEXT_BYTES = 1 << 20  # of the corpus: what figures of samples are held against
MAX_SAMPLE_BYTES = 1 << 20
_SAMPLE = re.compile(r"step-(\d+)\.txt")


@dataclass(frozen=True)
class EvolutionRun:
    """The page that was written, and when each milestone was reached."""

    page: str
    samples: int
    milestones: tuple[Milestone, ...]

    def to_json(self) -> dict[str, Any]:
        reached = {each.name: each.reached for each in self.milestones}
        return {"page": self.page, "samples": self.samples, "reached": reached}


def run_evolution(run: str, root: str, output: str = "") -> EvolutionRun:
    """Write the page of a run, an id under the root or a URL; by default into the run's own folder.

    InputError for what is no run, a run without samples on the way, or without its corpus.
    """
    url = storage.absolute(run) if "/" in run else runs.run_url(root, run)
    if not runs.is_run(url):
        raise InputError(f"there is no run at {url}; give the id of a run, or its folder.")
    start = storage.read_json(storage.join(url, runs.START))
    corpus = open_corpus(root, f"{start['corpus']['name']}@{start['corpus']['version']}")
    text = training_text(corpus, TEXT_BYTES).decode(errors="replace")
    sampled = read_samples(url)
    title = f"{start['recipe']}, run {url.rsplit('/', 1)[-1]}, as it learned"
    page = evolution_page(sampled, text, title)
    target = storage.join(storage.absolute(output) if output else url, EVOLUTION_PAGE)
    storage.write_bytes(target, page)
    return EvolutionRun(target, len(sampled), milestones(sampled, text))


def read_samples(url: str) -> list[Sampled]:
    """A run's samples by step, each with the training loss of its step."""
    metrics = storage.join(url, runs.METRICS)
    if not storage.exists(metrics):
        raise InputError(f"{url} has no {runs.METRICS} yet; wait for its first checkpoint.")
    losses = {row["step"]: row["train_loss"] for row in journal.rows(storage.read_bytes(metrics))}
    found = []
    for name in storage.names(storage.join(url, runs.SAMPLES)):
        match = _SAMPLE.fullmatch(name)
        # A sample of a step behind the newest checkpoint is of steps that will be made again.
        if not match or int(match[1]) not in losses:
            continue
        place = storage.join(url, runs.SAMPLES, name)
        text = storage.read_given(place, MAX_SAMPLE_BYTES, "sample").decode(errors="replace")
        loss = losses[int(match[1])]
        if not isinstance(loss, (int, float)):
            raise DamagedError(f"{metrics}: train_loss of step {int(match[1])} is no number.")
        found.append(Sampled(step=int(match[1]), loss=float(loss), sample=text))
    return sorted(found, key=lambda each: each.step)
