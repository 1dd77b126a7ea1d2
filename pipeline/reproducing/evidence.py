"""The stages that look at a trained model: evaluated, explained, and shown as it learned.

Each is skipped where its output for the same inputs exists: its folder is named by a digest of all
that decides it, and holds the JSON, written last, that says it is whole. A stage that was killed
leaves no such JSON, and is done again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline import recipes, storage
from pipeline.evaluation import run as evaluation
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.plan import REPORT
from pipeline.evaluation.plan import prepare as prepare_evaluation
from pipeline.evaluation.result import FORMAT
from pipeline.evaluation.sample_set import MAX_BYTES
from pipeline.explaining import run as explanation
from pipeline.explaining.config import ExplainConfig
from pipeline.explaining.evolution import EVOLUTION_PAGE, run_evolution
from pipeline.explaining.run import prepare as prepare_explanation
from pipeline.sampling.job import SampleResult
from pipeline.tasks import Runner, run_here

log = logging.getLogger("unreasonable")

EVOLUTION = "evolution.json"
# Checked as prose, a text of unknown kind has words and sentences at least.
ANY_KIND = "prose"
BYTES_A_CHAR = 4  # of UTF-8, at most


@dataclass(frozen=True)
class Look:
    """What a stage found, where its pages are, and whether they were there already."""

    found: dict[str, Any]
    pages: tuple[str, ...]
    was_there: bool = False


def kind_of(given: str, recipe_kind: str, corpus: str) -> str:
    """What a text is checked as: what its own section says, the recipe, or the shipped recipe of
    that corpus.
    """
    return given or recipe_kind or recipes.kind_of(corpus) or ANY_KIND


def evaluated(
    config: EvaluateConfig, kind: str, root: str, run: Runner, sampled: SampleResult
) -> Look:
    """Score the model, and check the very samples that the recipe wrote.

    The recipe's own samples, unless the section names some: what is shown is what was measured.
    """
    own_samples = not config.samples and sampled.chars * BYTES_A_CHAR <= MAX_BYTES
    if own_samples:
        config = dataclasses.replace(config, samples=sampled.output)
    plan = prepare_evaluation(dataclasses.replace(config, kind=kind), root)
    if own_samples and not config.output:
        # A folder's name does not say what is in it; the list of its files' digests does.
        digest = storage.sha256(sampled.samples)[:6]
        plan = dataclasses.replace(plan, output=f"{plan.output}-{digest}")
    return _looked(
        "evaluation",
        storage.join(plan.output, evaluation.REPORT_JSON),
        (storage.join(plan.output, REPORT),),
        lambda: evaluation.run_plan(plan, root, _session(run, config.num_workers)),
        FORMAT,
    )


def explained(config: ExplainConfig, kind: str, root: str, run: Runner) -> Look:
    """Look for cells, and write the page of a text and the page of the model."""
    # A page of how the run learned is a stage of its own here.
    plan = prepare_explanation(dataclasses.replace(config, kind=kind, evolution=""), root)
    pages = [explanation.PLAY_PAGE]
    if plan.text is not None:
        pages.insert(0, explanation.TEXT_PAGE)
    urls = tuple(storage.join(plan.output, page) for page in pages)
    whole = storage.join(plan.output, explanation.CELLS)
    if plan.text is None or not config.finder_bytes:
        # Without the cell finder there is no JSON: pages of a second or two are written again.
        explanation.run_plan(plan, _session(run, config.num_workers))
        return Look({}, urls)
    return _looked(
        "explanation",
        whole,
        urls,
        lambda: explanation.run_plan(plan, _session(run, config.num_workers)),
    )


def evolved(run_url: str, root: str) -> Look:
    """The page of what the run learned when, in the run's own folder."""
    whole = storage.join(run_url, EVOLUTION)

    def make() -> None:
        found = run_evolution(run_url, root)
        figures = {"milestones": [each.to_json() for each in found.milestones]}
        storage.write_json(whole, found.to_json() | figures)

    return _looked("evolution", whole, (storage.join(run_url, EVOLUTION_PAGE),), make)


def _looked(
    what: str, whole: str, pages: tuple[str, ...], make: Callable[[], Any], version: int = 0
) -> Look:
    """What stands in the JSON at `whole`, made first where it is not there."""
    if storage.exists(whole):
        found = storage.read_json(whole)
        # An older program's figures may lack what claims ask for.
        if not version or found.get("format") == version:
            log.info("%s: %s is there already", what, whole)
            return Look(found, pages, was_there=True)
    make()
    return Look(storage.read_json(whole), pages)


def _session(run: Runner, num_workers: int) -> Callable[[str], Any]:
    """Ray is there already: nothing to enter. One worker is this process."""
    runner = run if num_workers > 1 else run_here
    return lambda output: contextlib.nullcontext(runner)
